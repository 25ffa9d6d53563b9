//! Traces in a message's headers: the first as OpenTelemetry's tools expect it, the others in a header of ours. A message without
//! traces has neither; what is no trace is as if it were not there.

use lapin::types::{AMQPValue, FieldArray, FieldTable};

use crate::trace::{Context, TRACEPARENT};

/// The header with the traces behind the first.
const OTHERS_HEADER: &str = "x-doorbuster-traceparents";
/// Traces that are read from one message, at most.
const READ_MAX: usize = 64;

/// Adds traces to the headers of a message.
pub(super) fn write(headers: &mut FieldTable, traces: &[Context]) {
    let text = |context: &Context| AMQPValue::LongString(context.to_string().into());
    if let [first, others @ ..] = traces {
        headers.insert(TRACEPARENT.into(), text(first));
        if !others.is_empty() {
            headers.insert(OTHERS_HEADER.into(), AMQPValue::FieldArray(FieldArray::from(others.iter().map(text).collect::<Vec<_>>())));
        }
    }
}

/// The recorded traces in the headers of a message.
pub(crate) fn read(headers: &FieldTable) -> Vec<Context> {
    let values = headers.inner();
    let others = match values.get(OTHERS_HEADER) {
        Some(AMQPValue::FieldArray(others)) => others.as_slice(),
        _ => &[],
    };
    values.get(TRACEPARENT).into_iter().chain(others).take(READ_MAX).filter_map(context).collect()
}

fn context(value: &AMQPValue) -> Option<Context> {
    let (context, is_recorded) = match value {
        AMQPValue::LongString(text) => Context::parse(std::str::from_utf8(text.as_bytes()).ok()?)?,
        AMQPValue::ShortString(text) => Context::parse(text.as_str())?,
        _ => return None,
    };
    is_recorded.then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts(count: u64) -> Vec<Context> {
        (1..=count).map(|id| Context { trace: u128::from(id).try_into().unwrap(), span: id.try_into().unwrap() }).collect()
    }

    #[test]
    fn traces_are_read_back_in_order_and_none_leave_no_header() {
        for count in [0, 1, 2, 16] {
            let mut headers = FieldTable::default();
            write(&mut headers, &contexts(count));
            assert_eq!(headers.inner().len() as u64, count.min(2));
            assert_eq!(read(&headers), contexts(count));
        }
    }

    #[test]
    fn junk_and_what_is_not_recorded_are_left_out_and_a_flood_is_cut_off() {
        let mut headers = FieldTable::default();
        write(&mut headers, &contexts(1_000));
        assert_eq!(read(&headers).len(), READ_MAX);
        headers.insert(TRACEPARENT.into(), AMQPValue::LongString("junk".into()));
        headers.insert(OTHERS_HEADER.into(), 7.into());
        assert_eq!(read(&headers), []);
        headers.insert(TRACEPARENT.into(), AMQPValue::LongString(contexts(1)[0].to_string().replace("-01", "-00").into()));
        assert_eq!(read(&headers), []);
    }
}
