//! `application/x-www-form-urlencoded` with brackets, as Stripe takes parameters. Never reads one.

use super::super::transport::encoded;

/// Parameters in the order they were added.
#[derive(Default)]
pub(super) struct Form {
    text: String,
}

impl Form {
    /// Adds one: `name`, or `name[inner]` and so on.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        if !self.text.is_empty() {
            self.text.push('&');
        }
        self.text.push_str(&encoded(name));
        self.text.push('=');
        self.text.push_str(&encoded(value));
        self
    }

    /// As a body, or behind the `?` of a query.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_encoded() {
        let form = Form::default().with("line_items[0][price_data][currency]", "eur").with("name", "a&b=ü c+");
        assert_eq!(form.into_text(), "line_items%5B0%5D%5Bprice_data%5D%5Bcurrency%5D=eur&name=a%26b%3D%C3%BC%20c%2B");
    }
}
