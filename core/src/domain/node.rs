//! The name of a process among others. Never an address: an address may be given to another node later.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Invalid;

/// A node's id: 1 to 64 of letters, digits, `.`, `_` and `-`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for NodeId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > 64 || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return Err(Invalid("a node id must be 1 to 64 of letters, digits, '.', '_' and '-'"));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for NodeId {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> String {
        id.as_str().to_owned()
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
