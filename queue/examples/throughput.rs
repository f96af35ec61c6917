//! How much the doors cost: no-op jobs through them, beside a bare lapin loop on the same broker.
//!
//! `cargo run --release -p jailfleet-queue --example throughput`

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use anyhow::{Context, Result};
use futures_util::stream::{FuturesUnordered, StreamExt};
use jailfleet::settings::ReplyMode;
use jailfleet_harness::Broker;
use jailfleet_queue::amqp::producer::{ProducePlan, ProducerDoor};
use jailfleet_queue::topology::ReplyLife;
use jailfleet_queue::{Disposition, amqp};
use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicPublishOptions, BasicQosOptions};
use std::time::{Duration, Instant};
use support::{Client, LONG, job, plan, pool, section, serve};
use tokio::task::JoinSet;

const JOBS: usize = 10_000;
const SLOTS: usize = 56;

#[tokio::main]
async fn main() -> Result<()> {
    let broker = Broker::own()?;
    let mut ratios = Vec::new();
    for round in 0..3 {
        let bare = through_lapin(&broker.uri("/")).await?;
        let doors = through_the_doors(&broker.uri("/"), round).await?;
        eprintln!(
            "bare lapin {} jobs/s, the doors {} jobs/s",
            rate(bare),
            rate(doors)
        );
        ratios.push(bare.as_secs_f64() / doors.as_secs_f64());
    }
    eprintln!("ratios: {ratios:.2?}");
    Ok(())
}

fn rate(took: Duration) -> u128 {
    JOBS as u128 * 1_000_000 / took.as_micros().max(1)
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> Instant {
    Instant::now()
}

async fn fill(uri: &str, reply: &str) -> Result<ProducerDoor> {
    let amqp = section(uri, ReplyMode::Default);
    let plan = ProducePlan {
        reply: reply.to_owned(),
        life: ReplyLife::Lasting,
        pools: vec![pool()],
        prefetch: 256,
    };
    let door = ProducerDoor::open(&amqp, &plan)?;
    door.ready(LONG).await.map_err(anyhow::Error::msg)?;
    let sender = door.sender();
    let queue = door.reply_queue().to_owned();
    let ids: Vec<String> = (0..JOBS).map(|place| format!("job-{place}")).collect();
    let sends: FuturesUnordered<_> = ids
        .iter()
        .map(|id| sender.publish(job(id, Some(&queue))))
        .collect();
    let sent: Vec<_> = sends.collect().await;
    sent.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(door)
}

/// Takes and settles all results, so that both ways have the same work around them.
async fn collect(mut door: ProducerDoor) -> Result<()> {
    for _ in 0..JOBS {
        let result = door.next_result().await.context("the door is open")?;
        result.ticket.settle(Disposition::Ack).await?;
    }
    door.close(LONG).await;
    Ok(())
}

async fn through_the_doors(uri: &str, round: usize) -> Result<Duration> {
    let producer = fill(uri, &format!("doors-{round}")).await?;
    let mut doors = amqp::open(&section(uri, ReplyMode::Default), &plan(SLOTS))?;
    let started = now();
    let mut running = JoinSet::new();
    for _ in 0..JOBS {
        if running.len() >= SLOTS {
            running.join_next().await;
        }
        let delivery = doors.intake.next().await.context("the door is open")?;
        let outbox = doors.outbox.clone();
        running.spawn(async move { serve(&outbox, delivery).await });
    }
    while running.join_next().await.is_some() {}
    let took = now() - started;
    doors.sessions.close(LONG).await;
    collect(producer).await?;
    Ok(took)
}

/// The best that a loop without any care can do: batches of up to 64, one multiple ack each.
async fn through_lapin(uri: &str) -> Result<Duration> {
    let producer = fill(uri, "bare").await?;
    let (consume, publish) = (Client::new(uri).await, Client::new(uri).await);
    publish.channel.confirm_select(<_>::default()).await?;
    consume
        .channel
        .basic_qos(64, BasicQosOptions::default())
        .await?;
    let queue = "jailfleet.jobs.default.bulk".into();
    let started = now();
    let mut jobs = consume
        .channel
        .basic_consume(queue, "bare".into(), <_>::default(), <_>::default())
        .await?;
    let mut done = 0;
    while done < JOBS {
        let mut confirms = Vec::new();
        let mut last = 0;
        while confirms.len() < 32 && done < JOBS {
            let delivery = jobs.next().await.context("the queue is there")??;
            last = delivery.delivery_tag;
            let reply = delivery
                .properties
                .reply_to()
                .clone()
                .context("a reply queue")?;
            let properties = BasicProperties::default().with_delivery_mode(2);
            let options = BasicPublishOptions {
                mandatory: true,
                ..<_>::default()
            };
            let sent =
                publish
                    .channel
                    .basic_publish("".into(), reply, options, b"result", properties);
            confirms.push(sent.await?);
            done += 1;
        }
        for confirm in confirms {
            confirm.await?;
        }
        consume
            .channel
            .basic_ack(last, BasicAckOptions { multiple: true })
            .await?;
    }
    let took = now() - started;
    collect(producer).await?;
    Ok(took)
}
