//! `consumer`: brings the logs of all partitions from RabbitMQ into the database.

use std::process::ExitCode;

use doorbuster::{consumer, role};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ABOUT: &str = "Brings the logs of all partitions into the database, each sale exactly once. Several share the partitions.";

fn main() -> ExitCode {
    role::run("consumer", ABOUT, async |config, signals| {
        let port = consumer::listen(&config.consumer).await?;
        println!("consumer: http://{}/metrics", port.address());
        Ok(consumer::run_until(&config, port, signals.told()).await?)
    })
}
