//! What a provider did not do, and whether it may have. Never holds a secret.

use std::time::Duration;

/// Why a question has no answer, or what was asked for was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It was not reached, or did not take the request: nothing was done.
    #[error("the provider is away: {0}")]
    Away(String),
    /// It has too much to do: nothing was done.
    #[error("the provider has too much to do")]
    Busy {
        /// When it wants to be asked again, if it says so.
        retry_after: Option<Duration>,
    },
    /// It got the request, and nobody knows what it made of it.
    #[error("it is not known what the provider did: {0}")]
    Unknown(String),
    /// It said no, and would again.
    #[error("the provider refuses ({code}): {message}")]
    Refused {
        /// Its word for why.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// It knows no such object.
    #[error("the provider knows no such object")]
    Missing,
    /// The idempotency key was used before, for something else: our bug.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// It failed under this key before, and gives that same answer for as long as it remembers the key. Whoever goes on looks up what there is,
    /// and takes another key.
    #[error("the provider keeps a failure under this idempotency key")]
    KeySpent,
    /// It does not take our secret, or the secret may not do this.
    #[error("the provider does not take our secret")]
    Credentials,
}

impl ProviderError {
    /// Whether it is sure that nothing was done.
    #[must_use]
    pub fn is_nothing_done(&self) -> bool {
        match self {
            Self::Away(_) | Self::Busy { .. } | Self::Refused { .. } | Self::Missing | Self::KeyReused | Self::Credentials => true,
            Self::Unknown(_) | Self::KeySpent => false,
        }
    }

    /// Whether it may go better later, without anybody changing anything here.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Away(_) | Self::Busy { .. } | Self::Unknown(_) | Self::KeySpent => true,
            // A secret is replaced at the provider, or here with a restart: both take a while, and neither is this payment's fault.
            Self::Credentials => true,
            Self::Refused { .. } | Self::Missing | Self::KeyReused => false,
        }
    }
}
