//! Tasks that each have a label, by which whoever waits for them knows also the one that broke off.

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};

/// A set of tasks. They end with it.
#[derive(Debug)]
pub(crate) struct Labelled<L, T> {
    tasks: JoinSet<T>,
    labels: HashMap<Id, L>,
}

impl<L, T> Default for Labelled<L, T> {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            labels: HashMap::new(),
        }
    }
}

impl<L, T: Send + 'static> Labelled<L, T> {
    pub(crate) fn spawn(&mut self, label: L, task: impl Future<Output = T> + Send + 'static) {
        let task = self.tasks.spawn(task);
        self.labels.insert(task.id(), label);
    }

    /// The labels of those whose end nobody has taken.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &L> {
        self.labels.values()
    }

    /// The next that ended, and how.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<(L, Result<T, JoinError>)> {
        loop {
            let (id, ended) = match self.tasks.join_next_with_id().await? {
                Ok((id, ended)) => (id, Ok(ended)),
                Err(error) => (error.id(), Err(error)),
            };
            if let Some(label) = self.labels.remove(&id) {
                return Some((label, ended));
            }
        }
    }

    /// Tells them all to end; their ends are still to be taken.
    pub(crate) fn abort_all(&mut self) {
        self.tasks.abort_all();
    }

    /// Ends them all, and waits until they have.
    pub(crate) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
        self.labels.clear();
    }
}
