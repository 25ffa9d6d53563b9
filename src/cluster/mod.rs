//! The roles of a cluster: `spike` sells, `admin` operates. Each names the parts that it is made of; what is done with them, and in which
//! order, is [`process`](crate::process)'s. Never decides anything itself.

mod admin;
mod secrets;
mod spike;

pub use crate::process::StartError;
pub use admin::AdminNode;
pub use spike::SpikeNode;
