//! `lost`: looks at results whose reply queue was gone, and fetches them.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use jailfleet::job::JobId;
use jailfleet::settings::ProducerSettings;
use jailfleet_queue::amqp::shelf::{KeptMessage, Shelf};
use jailfleet_queue::topology::Kept;
use serde_json::json;

use crate::cli::{Exit, FetchArgs, ListArgs, LostCommand};
use crate::client::Content;
use crate::kept::{KeptError, id_of, print, shown, table};
use crate::progress::say;
use crate::results::ResultsFile;

/// The most results that one sync of the file pays for.
const STORE_TOGETHER: usize = 64;

/// Carries the command out.
///
/// # Errors
/// When the broker cannot be reached or says no, or the file does not do.
pub async fn run(settings: &ProducerSettings, command: &LostCommand) -> Result<Exit, KeptError> {
    let max_bytes = settings.producer.result_bytes;
    let mut shelf = Shelf::open(&settings.amqp, Kept::ResultsLost).await?;
    let done = match command {
        LostCommand::List(args) => list(&mut shelf, args, max_bytes).await,
        LostCommand::Fetch(args) => fetch(&mut shelf, args, max_bytes).await,
    };
    // Also after a failure: what was taken goes back in its order.
    let closed = shelf.close().await;
    let exit = done?;
    closed?;
    Ok(exit)
}

async fn list(shelf: &mut Shelf, args: &ListArgs, max_bytes: usize) -> Result<Exit, KeptError> {
    let all = shelf.waiting().await?;
    let mut rows = Vec::new();
    let mut count = 0;
    while count < args.limit
        && let Some(message) = shelf.next().await?
    {
        count += 1;
        let content = Content::read(&message.body, max_bytes).ok();
        let result = content.as_ref().map(|content| &content.result);
        let job = result.and_then(|result| result.job_id.as_ref());
        let outcome = result.map_or("unreadable", |result| result.outcome.as_str());
        let message_id = id_of(message.envelope.message_id.as_deref(), &message.body);
        if args.json {
            let mut facts = json!({
                "message_id": message_id, "job_id": job.map(JobId::as_str), "outcome": outcome,
                "reply_to": message.key, "reason": message.reason, "bytes": message.body.len(),
            });
            if let Some(facts) = facts.as_object_mut() {
                facts.retain(|_, value| !value.is_null());
            }
            print(&format!("{facts}\n"))?;
        } else {
            let job = job.map_or("-", JobId::as_str).to_owned();
            let bytes = message.body.len().to_string();
            rows.push(vec![job, outcome.to_owned(), message.key, bytes]);
        }
    }
    if !args.json {
        print(&table(&["JOB", "OUTCOME", "WAS FOR", "BYTES"], &rows))?;
    }
    say(&format!("{count} of {all} lost results"));
    Ok(Exit::Done)
}

/// Appends to the file, syncs it, and only then lets the broker forget.
async fn fetch(shelf: &mut Shelf, args: &FetchArgs, max_bytes: usize) -> Result<Exit, KeptError> {
    let mut there = HashSet::new();
    let mut file = ResultsFile::open(&args.results, max_bytes, |content| {
        there.insert((content.result.job_id, content.digest));
        Ok(())
    })?;
    sync_folder(&args.results)?;
    let mut tally = Tally::default();
    let mut batch = Vec::with_capacity(STORE_TOGETHER);
    for _ in 0..shelf.waiting().await? {
        let Some(message) = shelf.next().await? else {
            break;
        };
        match Content::read(&message.body, max_bytes) {
            Ok(content) => {
                let job = content.result.job_id.clone();
                if args.job.is_some() && args.job.as_deref() != job.as_ref().map(JobId::as_str) {
                    continue;
                }
                // An earlier run may have written it and died before the broker forgot it.
                if there.insert((job, content.digest)) {
                    file.push(&content.line);
                    tally.written += 1;
                } else {
                    tally.known += 1;
                }
                batch.push(message);
            }
            Err(what) => {
                tally.unreadable += 1;
                let id = id_of(message.envelope.message_id.as_deref(), &message.body);
                say(&format!("{}: stays: {}", shown(&id), shown(&what)));
            }
        }
        if batch.len() >= STORE_TOGETHER {
            commit(shelf, &mut file, &mut batch).await?;
        }
    }
    commit(shelf, &mut file, &mut batch).await?;
    Ok(tally.tell(args))
}

async fn commit(
    shelf: &mut Shelf,
    file: &mut ResultsFile,
    batch: &mut Vec<KeptMessage>,
) -> Result<(), KeptError> {
    file.sync()?;
    for message in batch.drain(..) {
        shelf.forget(message).await?;
    }
    Ok(())
}

/// Makes the file's name last through a power cut too.
fn sync_folder(file: &Path) -> Result<(), KeptError> {
    let parent = file.parent().filter(|path| !path.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))
        .and_then(|folder| folder.sync_all())
        .map_err(|source| KeptError::Io {
            action: "sync the folder of the results file",
            source,
        })
}

/// What became of what was there.
#[derive(Debug, Default)]
struct Tally {
    written: u64,
    known: u64,
    unreadable: u64,
}

impl Tally {
    fn tell(&self, args: &FetchArgs) -> Exit {
        let file = args.results.display();
        say(&format!("{} results appended to {file}", self.written));
        if self.known > 0 {
            say(&format!("{} were in it already", self.known));
        }
        let nothing = self.written + self.known == 0;
        if let Some(job) = args.job.as_deref().filter(|_| nothing) {
            say(&format!("{}: no lost result of that job", shown(job)));
            return Exit::Incomplete;
        }
        if self.unreadable > 0 {
            Exit::Incomplete
        } else {
            Exit::Done
        }
    }
}
