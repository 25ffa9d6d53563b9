//! `loadtest compare`: starts the contenders, lets them run in turns, and holds what they accepted against the rows. Never
//! measures: that is the library's.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::ensure;
use doorbuster::domain::CommodityId;
use hyper::body::Bytes;
use loadtest::client::Shape;
use loadtest::cluster::{Cluster, Layout, Services};
use loadtest::compare::{self, Comparison, Contender, Settings};
use loadtest::drain::Follower;
use loadtest::ledger::Ledger;
use loadtest::plan;
use loadtest::sale::{Desk, Offer, order_shape};
use loadtest::server::{Kind, ServerProcess};

use super::{LOGS, Stage, conclude, own_config, writable_json};
use crate::arguments::{CompareArguments, Through};

/// Buyers that orders are signed for; the commodities have no limit per user.
const BUYERS: usize = 10_000;
/// More units than any comparison sells.
const PLENTY: u32 = 1_000_000_000;
/// How long the log may take to reach the database after the last round.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);

/// A commodity that never sells out, and one that has.
#[derive(Clone, Copy)]
struct Sales {
    plenty: CommodityId,
    sold_out: CommodityId,
}

impl Sales {
    async fn open(desk: &mut Desk, settings: &Settings) -> anyhow::Result<Self> {
        let offer = |stock| Offer { stock, limit_per_user: None, hold_seconds: None };
        let sales = Self { plenty: desk.open_sale(offer(PLENTY)).await?, sold_out: desk.open_sale(offer(1)).await? };
        desk.buy(sales.sold_out, &settings.buyers[0]).await?;
        Ok(sales)
    }
}

pub async fn compare(arguments: CompareArguments) -> anyhow::Result<ExitCode> {
    writable_json(arguments.load.json.as_deref())?;
    let stage = Stage::new()?;
    let settings = Settings {
        connections: arguments.load.connections as usize,
        threads: arguments.load.threads as usize,
        round: Duration::from_secs(arguments.seconds),
        rounds: arguments.rounds as usize,
        buyers: plan::buyers(&stage.mint, BUYERS, 1, false)?,
    };
    let compared = match arguments.through {
        Through::Embedded => embedded(&stage, &settings).await,
        Through::Rabbitmq => rabbitmq(&stage, &settings, arguments.without_consumer).await,
        Through::Peer => peer(&stage, &settings).await,
    };
    conclude(stage, compared, arguments.load.json.as_deref(), LOGS)
}

/// One process on SQLite against the bare endpoint.
async fn embedded(stage: &Stage, settings: &Settings) -> anyhow::Result<Comparison> {
    let (data, config) = (stage.path("data"), own_config()?);
    let bare = stage.launcher.start(&Kind::Bare, &stage.path("bare.log")).await?;
    let server = stage.launcher.start(&Kind::Embedded { data: data.clone() }, &stage.path("server.log")).await?;
    let sales = Sales::open(&mut Desk::new(server.target().clone(), &stage.mint)?, settings).await?;
    let comparison = compare::compare(&against_bare(&bare, &server, sales), settings).await?;
    bare.stop().await?;
    server.stop().await?;
    sold_as_told(Ledger::open(&config, &data).await?, sales, &comparison).await?;
    Ok(comparison)
}

/// A node with RabbitMQ between it and the database against the bare endpoint.
async fn rabbitmq(stage: &Stage, settings: &Settings, without_consumer: bool) -> anyhow::Result<Comparison> {
    let bare = stage.launcher.start(&Kind::Bare, &stage.path("bare.log")).await?;
    let mut cluster = cluster(stage, 1).await?;
    let sales = Sales::open(&mut desk(stage, &cluster)?, settings).await?;
    if without_consumer {
        cluster.consumers[0].stop().await?;
    }
    let comparison = compare::compare(&against_bare(&bare, cluster.spikes[0].process()?, sales), settings).await?;
    bare.stop().await?;
    if without_consumer {
        cluster.consumers[0].start(&stage.launcher).await?;
    }
    finish(cluster, sales, &comparison).await?;
    Ok(comparison)
}

/// The same commodities asked for at their owner, and at a node that passes the requests on.
async fn peer(stage: &Stage, settings: &Settings) -> anyhow::Result<Comparison> {
    let cluster = cluster(stage, 2).await?;
    let sales = Sales::open(&mut desk(stage, &cluster)?, settings).await?;
    let (plenty, sold_out) = (cluster.owner_of(sales.plenty).await?.0, cluster.owner_of(sales.sold_out).await?.0);
    let node = |index: usize| cluster.spikes[index].process();
    let contender = |name, server, against, (commodity, code)| {
        let shape = order_shape(commodity, 1);
        Contender { name, server, shape, code, against }
    };
    let (accepts, refusals) = ((sales.plenty, "accepted"), (sales.sold_out, "sold_out"));
    let contenders = [
        contender("accepts, at the owner", node(plenty)?, "accepts, at the owner", accepts),
        contender("accepts, forwarded", node(1 - plenty)?, "accepts, at the owner", accepts),
        contender("sold out, at the owner", node(sold_out)?, "sold out, at the owner", refusals),
        contender("sold out, elsewhere", node(1 - sold_out)?, "sold out, at the owner", refusals),
    ];
    let comparison = compare::compare(&contenders, settings).await?;
    finish(cluster, sales, &comparison).await?;
    Ok(comparison)
}

fn against_bare<'a>(bare: &'a ServerProcess, server: &'a ServerProcess, sales: Sales) -> [Contender<'a>; 3] {
    let bare_shape = Shape::post("/v1/commodities/1/orders", Bytes::from_static(br#"{"quantity":1}"#));
    let against = "bare actix";
    [
        Contender { name: against, server: bare, shape: bare_shape, code: "accepted", against },
        Contender { name: "durable accepts", server, shape: order_shape(sales.plenty, 1), code: "accepted", against },
        Contender { name: "sold-out refusals", server, shape: order_shape(sales.sold_out, 1), code: "sold_out", against },
    ]
}

async fn cluster(stage: &Stage, spikes: usize) -> anyhow::Result<Cluster> {
    let layout = Layout { spikes, consumers: 1 };
    Cluster::start(layout, &Services::from_environment(), &stage.launcher, stage.folder.path()).await
}

fn desk(stage: &Stage, cluster: &Cluster) -> anyhow::Result<Desk> {
    Desk::of(cluster.admin.target().clone(), cluster.spikes[0].target().clone(), &stage.mint)
}

async fn finish(mut cluster: Cluster, sales: Sales, comparison: &Comparison) -> anyhow::Result<()> {
    sold_as_told(Ledger::open(&cluster.config()?, std::path::Path::new("")).await?, sales, comparison).await?;
    cluster.stop().await
}

/// What was accepted in all rounds is in the database, and nothing else.
async fn sold_as_told(ledger: Ledger, sales: Sales, comparison: &Comparison) -> anyhow::Result<()> {
    let of_sale = comparison.summary.iter().filter(|summary| summary.code == "accepted" && summary.contender != "bare actix");
    let accepted = of_sale.map(|summary| summary.answers).sum();
    // Whatever is still missing after the bound is missing for good.
    Follower::of(&ledger, sales.plenty, 1).level(accepted, Instant::now(), DRAIN_TIMEOUT).await?;
    let sold = ledger.counters(sales.plenty).await?.sold.unsigned_abs();
    ensure!(sold == accepted, "{accepted} orders were accepted, and {sold} units are sold in the database");
    ledger.all_balance().await?;
    ledger.close().await
}
