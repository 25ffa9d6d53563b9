//! Payments: what takes money for us, what it tells us, and what is asked of it. Never decides about an order: that is the engine's; and
//! never believes an amount that came with a message: it asks the provider.

mod name;
pub mod provider;
pub mod webhook;

pub use name::ProviderName;
