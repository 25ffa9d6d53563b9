//! Which trace something belongs to and which step of it led here, in the form of W3C Trace Context
//! (<https://www.w3.org/TR/trace-context/>). Pure; it never keeps anything of the text it reads but the two ids.

use std::fmt::{Display, Formatter};
use std::num::{NonZeroU64, NonZeroU128};

/// The header that carries a context: in a request, and in a message of the log.
pub const TRACEPARENT: &str = "traceparent";

/// A place in a trace that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: NonZeroU128,
    /// The step of it.
    pub span: NonZeroU64,
}

impl Context {
    /// Reads a `traceparent`, and whether its sender records the trace. None for what is none: it is as if it were not there.
    #[must_use]
    pub fn parse(text: &str) -> Option<(Self, bool)> {
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace = NonZeroU128::new(hex(parts.next()?, 32)?)?;
        let span = NonZeroU64::new(hex(parts.next()?, 16)?.try_into().ok()?)?;
        let flags = hex(parts.next()?, 2)?;
        // Later versions may add fields behind these; 255 is never a version.
        let whole = parts.next().is_none() || version > 0;
        (whole && version < 255).then_some((Self { trace, span }, flags & 1 == 1))
    }
}

/// As a `traceparent` of version 0 that says "recorded".
impl Display for Context {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "00-{:032x}-{:016x}-01", self.trace, self.span)
    }
}

/// A number of exactly so many digits, lower case as the specification has it.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == digits && text.bytes().all(is_hex)).then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_specification_is_read() {
        let (context, recorded) = Context::parse(EXAMPLE).unwrap();
        assert_eq!((context.trace.get(), context.span.get()), (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7));
        assert!(recorded);
        assert_eq!(context.to_string(), EXAMPLE);
        assert!(!Context::parse(&EXAMPLE.replace("-01", "-00")).unwrap().1);
        assert!(Context::parse(&format!("cc{}-what-will-be", &EXAMPLE[2..])).is_some(), "a later version");
    }

    #[test]
    fn junk_is_as_if_it_were_not_there() {
        let junk = [
            String::new(),
            "00".into(),
            EXAMPLE.to_uppercase(),
            format!("{EXAMPLE}-more"),
            format!(" {EXAMPLE}"),
            EXAMPLE.replacen("00-", "ff-", 1),
            EXAMPLE.replace("-01", "-1"),
            EXAMPLE.replace("4bf9", "+bf9"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16)),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7".into(),
        ];
        for text in junk {
            assert_eq!(Context::parse(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace in 1..=u128::MAX, span in 1..=u64::MAX) {
            let context = Context { trace: trace.try_into().unwrap(), span: span.try_into().unwrap() };
            prop_assert_eq!(Context::parse(&context.to_string()), Some((context, true)));
        }

        #[test]
        fn no_text_is_too_strange(text in ".*") {
            prop_assert!(Context::parse(&text).is_none());
        }
    }
}
