//! The roles of a cluster: `spike` sells, `admin` operates. Each is assembled here from the same parts as the embedded
//! mode, with ownership by the broker and a way to other nodes. Never decides anything itself.

mod admin;
mod parts;
mod spike;
mod steward;

pub use admin::AdminNode;
pub use parts::StartError;
pub use spike::SpikeNode;
