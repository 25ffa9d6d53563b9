//! The query string, read strictly: an unknown or repeated parameter is a fault, since a filter with a typing error that
//! is left out of account shows the wrong rows. Never fails at the first fault: all are told at once.

use actix_web::web;

use super::problem::{Fault, Problem};
use crate::domain::Invalid;

/// Parameters a query may have at most; more are a fault.
const PARAMETERS_MAX: usize = 32;

/// The parameters that were sent and what is wrong with them so far.
#[derive(Debug)]
pub struct Query {
    parameters: Vec<(String, String)>,
    faults: Vec<Fault>,
}

impl Query {
    /// Takes a query string apart.
    pub(crate) fn read(text: &str) -> Self {
        let mut query = Self { parameters: Vec::new(), faults: Vec::new() };
        for (name, value) in form(text) {
            if query.parameters.len() == PARAMETERS_MAX {
                query.fault(Fault::new("query", "too many parameters"));
                break;
            }
            if query.parameters.iter().any(|(known, _)| *known == name) {
                query.fault(Fault::new(name, "given more than once"));
            } else {
                query.parameters.push((name, value));
            }
        }
        query
    }

    /// The text of a parameter, at most once.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.parameters.iter().position(|(known, _)| known == name)?;
        Some(self.parameters.swap_remove(at).1)
    }

    /// A parameter of a domain type; absent or at fault gives none.
    pub(crate) fn parse<T: std::str::FromStr<Err = Invalid>>(&mut self, name: &'static str) -> Option<T> {
        let parsed = self.take(name)?.parse();
        parsed.map_err(|why: Invalid| self.fault(Fault::new(name, why.0))).ok()
    }

    /// Adds a fault.
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Whether all was well: no fault, and no parameter that nobody took.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let Self { parameters, mut faults } = self;
        faults.extend(parameters.into_iter().map(|(name, _)| Fault::new(name, "no such parameter")));
        if faults.is_empty() { Ok(()) } else { Err(Problem::InvalidRequest(faults)) }
    }
}

/// `application/x-www-form-urlencoded`, as the URL standard reads it: every text is one.
fn form(text: &str) -> Vec<(String, String)> {
    web::Query::from_query(text).map(web::Query::into_inner).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CommodityId, Timestamp};

    fn faults(query: Query) -> Vec<String> {
        match query.finish() {
            Err(Problem::InvalidRequest(faults)) => faults.into_iter().map(|fault| fault.field.into_owned()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_parameter_is_decoded_and_parsed() {
        let mut query = Query::read("placed_from=2026-11-27T12%3A00%3A00%2B01:00&commodity_id=7&&");
        assert_eq!(query.parse::<Timestamp>("placed_from").unwrap().to_string(), "2026-11-27T11:00:00.000Z");
        assert_eq!(query.parse::<CommodityId>("commodity_id").unwrap().get(), 7);
        assert_eq!(query.parse::<CommodityId>("user_id"), None);
        query.finish().unwrap();
        let mut query = Query::read("a+b%20c%zz%4=%ff");
        assert_eq!(query.take("a b c%zz%4").as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let mut query = Query::read("commodity_id=0&limit=1&limit=2&comodity=1");
        query.parse::<CommodityId>("commodity_id");
        query.take("limit");
        assert_eq!(faults(query), ["limit", "commodity_id", "comodity"]);
    }

    #[test]
    fn more_parameters_than_any_route_has_are_a_fault() {
        let text: String = (0..40).map(|n| format!("p{n}=1&")).collect();
        assert_eq!(faults(Query::read(&text))[0], "query");
    }
}
