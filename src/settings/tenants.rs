//! The tenants that a worker serves: a vhost each, with a weight and, where it has them, credentials.

use super::reader::Reader;
use super::secret::Secret;
use super::sections::AmqpSection;
use crate::job::Name;
use std::collections::BTreeMap;

/// Each has four connections and a thread of its own.
const MOST: usize = 64;
const DEFAULT_WEIGHT: &str = "tenant_defaults.weight";

/// One of the vhosts that a worker serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name in metrics, logs and readiness.
    pub name: Name,
    /// Its vhost.
    pub vhost: String,
    /// Its share of the slots against those of the others.
    pub weight: u32,
    /// Its own broker and user; `None`: those of `[amqp]`.
    pub uri: Option<Secret>,
    /// A file that holds that URI and takes precedence over it.
    pub uri_file: Option<String>,
    /// A file that holds the password and takes precedence over that of the URI.
    pub password_file: Option<String>,
}

impl Tenant {
    /// Whether it connects as somebody, or to a broker, of its own.
    fn has_own_uri(&self) -> bool {
        self.uri.is_some() || self.uri_file.is_some()
    }
}

impl AmqpSection {
    /// The section by which a tenant's sessions connect: this one, with the tenant's vhost and, where it
    /// has any, its credentials.
    #[must_use]
    pub fn of_tenant(&self, tenant: &Tenant) -> Self {
        let mut own = self.clone();
        own.vhost = Some(tenant.vhost.clone());
        if tenant.has_own_uri() {
            // A password of somebody else's must not go with it.
            own.uri_file.clone_from(&tenant.uri_file);
            own.password_file = None;
        }
        if let Some(uri) = &tenant.uri {
            own.uri = uri.clone();
        }
        if tenant.password_file.is_some() {
            own.password_file.clone_from(&tenant.password_file);
        }
        own
    }
}

/// The tenants, sorted by name.
pub(super) fn tenants(read: &mut Reader) -> Option<Vec<Tenant>> {
    let names = read.names("tenants");
    // Looked at also where every tenant has a weight of its own.
    let weight = read.narrow(DEFAULT_WEIGHT);
    if names.len() > MOST {
        read.complain("tenants", format!("expected at most {MOST} tenants"));
        return None;
    }
    let all: Vec<Option<Tenant>> = names
        .iter()
        .map(|name| tenant(read, name, weight))
        .collect();
    let tenants = all.into_iter().collect::<Option<Vec<Tenant>>>()?;
    are_apart(read, &tenants).then_some(tenants)
}

fn tenant(read: &mut Reader, name: &str, default_weight: Option<u32>) -> Option<Tenant> {
    let key = |rest: &str| format!("tenants.{name}.{rest}");
    let vhost = read.text(&key("vhost"));
    let weight = if read.has(&key("weight")) {
        read.narrow(&key("weight"))
    } else {
        default_weight
    };
    let mut if_set = |rest: &str| {
        let key = key(rest);
        if read.has(&key) {
            read.text(&key).map(Some)
        } else {
            Some(None)
        }
    };
    let uri = if_set("uri");
    let uri_file = if_set("uri_file");
    let password_file = if_set("password_file");
    Some(Tenant {
        // The sorter has let only names through.
        name: Name::parse(name).ok()?,
        vhost: vhost?,
        weight: weight?,
        uri: uri?.map(Secret::new),
        uri_file: uri_file?,
        password_file: password_file?,
    })
}

/// Two tenants of one vhost would hear each other's cancels and answer each other's dead letters. A URI
/// of its own may lead to another broker, where the same name is another vhost.
fn are_apart(read: &mut Reader, tenants: &[Tenant]) -> bool {
    let mut owners: BTreeMap<&str, &Name> = BTreeMap::new();
    let mut apart = true;
    for tenant in tenants.iter().filter(|tenant| !tenant.has_own_uri()) {
        if let Some(other) = owners.insert(&tenant.vhost, &tenant.name) {
            let expected = format!("is the vhost of tenant {other}: expected one each");
            read.complain(&format!("tenants.{}.vhost", tenant.name), expected);
            apart = false;
        }
    }
    apart
}
