//! What is measured of providers. Labels are the configured names and words of closed sets: the number of series is bounded.

use metrics::counter;

use super::ProviderName;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was news.
    News,
    /// It was heard before.
    Before,
    /// It is the provider's, and about nothing that we know.
    Nothing,
    /// It is not the provider's, or not of now.
    BadSignature,
}

impl Outcome {
    const fn word(self) -> &'static str {
        match self {
            Self::News => "news",
            Self::Before => "before",
            Self::Nothing => "nothing",
            Self::BadSignature => "bad_signature",
        }
    }
}

/// Says what each is.
pub(super) fn describe() {
    metrics::describe_counter!("doorbuster_provider_messages_total", "Webhooks of payment providers, by provider and what became of them");
    metrics::describe_counter!("doorbuster_provider_failures_total", "Questions that a payment provider did not help with, by provider");
    metrics::describe_counter!("doorbuster_payments_settled_total", "Times that a payment was looked after");
}

/// A message came.
pub fn message(provider: &ProviderName, outcome: Outcome) {
    counter!("doorbuster_provider_messages_total", "provider" => provider.as_str().to_owned(), "outcome" => outcome.word()).increment(1);
}

/// A provider did not help.
pub(super) fn failure(provider: &ProviderName) {
    counter!("doorbuster_provider_failures_total", "provider" => provider.as_str().to_owned()).increment(1);
}

/// A payment was looked after.
pub(super) fn settled() {
    counter!("doorbuster_payments_settled_total").increment(1);
}
