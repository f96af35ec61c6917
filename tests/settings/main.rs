//! The configuration: its layers, its mistakes, its secrets, and the documents about it.

mod values;
mod mistakes;
mod documents;
mod tenants;

use jailfleet::settings::{
    Mistakes, ProducerSettings, SourceText, WorkerSettings, producer_settings, worker_settings,
};

pub(crate) fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub(crate) fn worker(
    file: &str,
    env: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<WorkerSettings, Mistakes> {
    let file = SourceText {
        name: "site.toml",
        text: file,
    };
    worker_settings(Some(file), &pairs(env), &pairs(flags))
}

pub(crate) fn producer(file: &str, env: &[(&str, &str)]) -> Result<ProducerSettings, Mistakes> {
    let file = SourceText {
        name: "site.toml",
        text: file,
    };
    producer_settings(Some(file), &pairs(env), &[])
}

pub(crate) fn defaults() -> WorkerSettings {
    worker_settings(None, &[], &[]).expect("the embedded defaults are right")
}

pub(crate) fn lines(result: Result<WorkerSettings, Mistakes>) -> Vec<String> {
    let mistakes = result.expect_err("this configuration is wrong");
    mistakes.to_string().lines().map(str::to_owned).collect()
}
