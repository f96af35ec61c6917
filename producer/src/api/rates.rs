//! What each tenant has left of its rates, and how many of its requests wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jailfleet::job::Name;
use jailfleet_program::Moment;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Failure;
use super::rate::Bucket;
use super::tenants::Tenant;

/// The accounts of all tenants. There are never more than have been in the file.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<Name, Account>>);

#[derive(Debug)]
struct Account {
    requests: Bucket,
    jobs: Bucket,
    waits: Arc<Semaphore>,
    most_waits: usize,
}

impl Rates {
    /// Lets one request through.
    ///
    /// # Errors
    /// When the tenant sent too many of late.
    pub(super) fn request(&self, tenant: &Tenant, now: Moment) -> Result<(), Failure> {
        let rate = tenant.requests_per_s;
        let taken = self.with(tenant, now, |account| account.requests.take(1, rate, now));
        taken.map_err(|wait| Failure::too_often("requests", wait))
    }

    /// Lets so many jobs through.
    ///
    /// # Errors
    /// When the tenant sent too many of late.
    pub(super) fn jobs(&self, tenant: &Tenant, count: usize, now: Moment) -> Result<(), Failure> {
        let (rate, count) = (tenant.jobs_per_s, u32::try_from(count).unwrap_or(u32::MAX));
        let taken = self.with(tenant, now, |account| account.jobs.take(count, rate, now));
        taken.map_err(|wait| Failure::too_often("jobs", wait))
    }

    /// A place for a request that waits.
    ///
    /// # Errors
    /// When the tenant has none left.
    pub(super) fn wait(
        &self,
        tenant: &Tenant,
        now: Moment,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        let waits = self.with(tenant, now, |account| Arc::clone(&account.waits));
        let place = waits.try_acquire_owned();
        place.map_err(|_none| Failure::too_often("waiting requests", std::time::Duration::ZERO))
    }

    fn with<T>(&self, tenant: &Tenant, now: Moment, act: impl FnOnce(&mut Account) -> T) -> T {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let account = accounts
            .entry(tenant.name.clone())
            .or_insert_with(|| Account {
                requests: Bucket::full(tenant.requests_per_s, now),
                jobs: Bucket::full(tenant.jobs_per_s, now),
                waits: Arc::new(Semaphore::new(tenant.waits)),
                most_waits: tenant.waits,
            });
        // The file may have changed; who waits already goes on.
        if account.most_waits != tenant.waits {
            account.waits = Arc::new(Semaphore::new(tenant.waits));
            account.most_waits = tenant.waits;
        }
        act(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tenants::Tenants;
    use crate::api::tenants::tests::entry;
    use std::time::Duration;

    fn tenant(name: &str, more: &str) -> Arc<Tenant> {
        let text = entry(name, name, more);
        let tenants = Tenants::read(&text).expect("a good file");
        let mut headers = hyper::HeaderMap::new();
        let token = format!("Bearer {name}").parse().expect("a header");
        headers.insert(hyper::header::AUTHORIZATION, token);
        tenants.who(&headers).expect("its token")
    }

    #[test]
    fn one_tenants_haste_costs_no_other_one_anything() {
        let (rates, now) = (Rates::default(), Duration::ZERO);
        let (one, other) = (tenant("a", "requests_per_s = 1"), tenant("b", ""));
        rates.request(&one, now).expect("the first");
        let refused = rates.request(&one, now).expect_err("too many");
        assert_eq!(refused.status.as_u16(), 429);
        rates.request(&other, now).expect("another tenant");
        rates.jobs(&one, 1000, now).expect("jobs are counted apart");
        rates.jobs(&one, 1, now).expect_err("paid for later");
    }

    #[test]
    fn places_to_wait_are_counted_and_given_back_and_a_new_number_counts_at_once() {
        let (rates, now) = (Rates::default(), Duration::ZERO);
        let few = tenant("a", "waits = 1");
        let place = rates.wait(&few, now).expect("one place");
        let refused = rates.wait(&few, now).expect_err("no second one");
        assert_eq!(refused.status.as_u16(), 429);
        let _more = rates
            .wait(&tenant("a", "waits = 2"), now)
            .expect("more now");
        drop(place);
        let _place = rates.wait(&few, now).expect("it was given back");
    }
}
