//! Where a test can halt a job's story inside of the worker, to let something die at exactly that step.
//!
//! What is shipped has no such thing: without the feature `halting-points` every point is passed at once.
//! With it, the worker calls the test that started it and waits for its word.

use jailfleet_queue::Envelope;

#[cfg(all(feature = "halting-points", not(debug_assertions)))]
compile_error!("halting points are for tests: no release build has them");

/// A step that a test can halt at. The others can be seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// The delivery is here, and nothing was done about it.
    Received,
    /// The program has ended, and nobody has judged it.
    Exited,
    /// Its result is made, and was shown to nobody.
    Judged,
}

/// Passes a point.
#[cfg(not(feature = "halting-points"))]
pub(crate) fn at(_point: Point, _job: &Envelope) -> std::future::Ready<()> {
    std::future::ready(())
}

/// Tells the test that this job has come to a point, and waits until it hangs up.
#[cfg(feature = "halting-points")]
pub(crate) async fn at(point: Point, job: &Envelope) {
    let Ok(address) = std::env::var("JAILFLEET_TEST_HALTS") else {
        return;
    };
    let id = job.message_id.as_deref().unwrap_or_default();
    let point = match point {
        Point::Received => "received",
        Point::Exited => "exited",
        Point::Judged => "judged",
    };
    let line = format!("{point} {id} {}\n", std::process::id());
    if let Err(error) = call(&address, line.as_bytes()).await {
        tracing::warn!(%error, point, "nobody halts this job");
    }
}

#[cfg(feature = "halting-points")]
async fn call(address: &str, line: &[u8]) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(line).await?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.map(drop)
}
