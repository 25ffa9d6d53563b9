//! An issuer that changes its keys under load.

use loadtest::rotate::{Rotation, rotate};
use loadtest::tokens::Mint;

use crate::{SECRET, launcher};

#[tokio::test]
async fn no_order_is_refused_while_an_issuer_changes_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let rotation = Rotation { rate: 50, seconds: 4, rotations: 1, connections: 64 };
    let report = rotate(rotation, &launcher(), &Mint::with_secret(SECRET).unwrap(), folder.path()).await.unwrap();
    assert_eq!(report.accepted, 200, "{report}");
    // One at the start, and one for the new key.
    assert_eq!(report.fetches, 2, "{report}");
}
