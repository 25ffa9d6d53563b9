//! An answer of any length, counted and thrown away as it comes. Never keeps it in memory.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::loopback::Target;

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Downloaded {
    /// Its bytes.
    pub bytes: u64,
    /// Its lines.
    pub lines: u64,
    /// From the request to its end, or to the bound, in microseconds.
    pub took_us: u64,
    /// Whether it came to its end before the bound.
    pub is_whole: bool,
}

/// Asks for it, and reads until its end or the bound.
pub(super) async fn download(target: &Target, path: &str, authorization: &HeaderValue, bound: Duration) -> anyhow::Result<Downloaded> {
    let began = Instant::now();
    let stream = TcpStream::connect(target.address()).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender: how it ended, the body says.
    let driver = tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, target.host()).header(header::AUTHORIZATION, authorization);
    let mut counted = Downloaded { bytes: 0, lines: 0, took_us: 0, is_whole: false };
    let reading = async {
        let mut answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        ensure!(answer.status() == StatusCode::OK, "{path}: {}", answer.status());
        while let Some(frame) = answer.frame().await {
            let frame = frame.with_context(|| format!("{path} was cut off"))?;
            if let Some(data) = frame.data_ref() {
                counted.bytes += data.len() as u64;
                counted.lines += data.iter().filter(|byte| **byte == b'\n').count() as u64;
            }
        }
        anyhow::Ok(())
    };
    let read = tokio::time::timeout(bound, reading).await;
    driver.abort();
    counted.is_whole = match read {
        Ok(read) => read.map(|()| true)?,
        Err(_) if counted.bytes == 0 => return Err(anyhow!("{path}: nothing came within {} s", bound.as_secs())),
        Err(_) => false,
    };
    counted.took_us = began.elapsed().as_micros() as u64;
    Ok(counted)
}
