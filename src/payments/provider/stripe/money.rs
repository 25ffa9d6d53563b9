//! Amounts as Stripe counts them. Its minor units are those of ISO 4217, but for a few currencies. Never rounds.

use super::super::{Amount, ProviderError};

/// Without decimals by ISO 4217, and sent with two, which are always 00.
const WITH_TWO_MORE: [&str; 2] = ["ISK", "UGX"];

/// With two decimals by ISO 4217, and sent without.
const WITHOUT_TWO: [&str; 1] = ["MGA"];

/// With three decimals, of which the last is always 0.
const IN_TENS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// What is sent for an amount.
///
/// # Errors
/// [`ProviderError::Refused`] for one that Stripe has no number for.
pub(super) fn sent(amount: Amount) -> Result<i64, ProviderError> {
    let code = amount.currency.code();
    let unsendable = || ProviderError::Refused {
        code: "amount_not_representable".to_owned(),
        message: format!("Stripe takes no amount of {} minor units of {code}", amount.minor),
    };
    match code {
        _ if amount.minor <= 0 => Err(unsendable()),
        code if WITH_TWO_MORE.contains(&code) => amount.minor.checked_mul(100).ok_or_else(unsendable),
        code if WITHOUT_TWO.contains(&code) && amount.minor % 100 != 0 => Err(unsendable()),
        code if WITHOUT_TWO.contains(&code) => Ok(amount.minor / 100),
        code if IN_TENS.contains(&code) && amount.minor % 10 != 0 => Err(unsendable()),
        _ => Ok(amount.minor),
    }
}

/// What a number of Stripe's comes to, in minor units of ISO 4217; none where it is no whole number of them.
pub(super) fn received(number: i64, code: &str) -> Option<i64> {
    match code {
        code if WITH_TWO_MORE.contains(&code) => (number % 100 == 0).then_some(number / 100),
        code if WITHOUT_TWO.contains(&code) => number.checked_mul(100),
        _ => Some(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(minor: i64, code: &str) -> Amount {
        Amount { minor, currency: code.parse().unwrap() }
    }

    #[test]
    fn an_amount_comes_back_as_it_was_sent() {
        for (minor, code, number) in
            [(4_999, "EUR", 4_999), (500, "JPY", 500), (5, "ISK", 500), (7, "UGX", 700), (1_200, "MGA", 12), (1_230, "KWD", 1_230)]
        {
            assert_eq!(sent(amount(minor, code)), Ok(number), "{code}");
            assert_eq!(received(number, code), Some(minor), "{code}");
        }
    }

    #[test]
    fn what_stripe_has_no_number_for_is_refused_and_not_rounded() {
        for (minor, code) in [(0, "EUR"), (-1, "EUR"), (1_234, "KWD"), (150, "MGA"), (i64::MAX, "ISK")] {
            assert!(matches!(sent(amount(minor, code)), Err(ProviderError::Refused { .. })), "{minor} {code}");
        }
        assert_eq!(received(550, "ISK"), None);
    }
}
