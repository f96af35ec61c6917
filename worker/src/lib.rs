//! The worker: takes jobs from the doors, runs them within the walls, and answers.
//!
//! Read `attempt.rs` for the story of one job, `reaper.rs` for that of one dead letter, `supervisor.rs` for what the worker does when, and
//! `serve/floor.rs` for the one loop that joins the two.

#![forbid(unsafe_code)]

pub mod serve;
mod attempt;
mod halt;
mod plan;
mod globals;
mod artifacts;
mod run;
mod message;
mod answer;
mod results;
mod reaper;
mod cancels;
mod twins;
mod clocks;
mod patience;
mod station;
mod labelled;
pub mod supervisor;
pub mod tenancy;
mod turns;
pub mod slots;
pub mod readers;
pub mod fitness;
pub mod programs;
pub mod privileges;
pub mod confine;
pub mod canary;
pub mod local;
pub mod doctor;
pub mod topology;
pub mod admin;
pub mod metrics;
mod events;
pub mod cli;
pub mod command;
