//! Accepted means sold, whatever is killed: twenty times `kill -9` in the middle of a sale.

use loadtest::crash::{Crash, crash};
use loadtest::tokens::Mint;

use crate::{SECRET, launcher};

#[tokio::test]
async fn twenty_kills_in_the_middle_of_a_sale_lose_nothing_and_sell_nothing_twice() {
    // A new seed each time looks at new moments; a seed that fails is printed and can be given again.
    let seed = std::env::var("DOORBUSTER_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("seed {seed} (DOORBUSTER_TEST_SEED={seed} repeats it)");
    let plan = Crash { times: 20, seed, stock: 60, buyers: 100, connections: 16 };
    let folder = tempfile::tempdir().unwrap();
    let mint = Mint::with_secret(SECRET).unwrap();
    let report = crash(&plan, &launcher(), mint, folder.path(), |line| println!("{line}")).await.unwrap();
    assert_eq!(report.killed, 20);
    // Kills that found nothing accepted or nothing in flight would have proved nothing.
    assert!(report.accepted_before > 0 && report.in_flight > 0, "{report:?}");
}
