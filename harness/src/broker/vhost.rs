//! What each test has of a node for itself: a vhost, and users.

use anyhow::Result;

use super::Broker;

/// A vhost of one test, deleted on drop.
#[derive(Debug)]
pub struct Vhost<'a> {
    pub(super) broker: &'a Broker,
    pub(super) name: String,
}

/// A user of one test, deleted on drop.
#[derive(Debug)]
pub struct User<'a> {
    vhost: &'a Vhost<'a>,
    name: String,
}

/// The password that every user of tests has first.
pub const PASSWORD: &str = "a-password-of-tests";

impl Vhost<'_> {
    /// Where clients find it.
    #[must_use]
    pub fn uri(&self) -> String {
        self.broker.uri(&self.name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A user of its own name in this vhost, without any right in it.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn user(&self, name: &str) -> Result<User<'_>> {
        let name = format!(
            "{name}-{}-{}",
            self.name.replace('/', "root"),
            std::process::id()
        );
        self.broker.ctl(&["add_user", &name, PASSWORD])?;
        Ok(User { vhost: self, name })
    }
}

impl User<'_> {
    /// Where the vhost is, with this user's name and password.
    #[must_use]
    pub fn uri(&self) -> String {
        let login = format!("//{}:{PASSWORD}@", self.name);
        self.vhost.uri().replace("//guest:guest@", &login)
    }

    /// The same without the password.
    #[must_use]
    pub fn uri_without_password(&self) -> String {
        self.uri().replace(&format!(":{PASSWORD}@"), "@")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives it these rights in the vhost, and takes all others: three regular expressions.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn permit(&self, configure: &str, write: &str, read: &str) -> Result<()> {
        let (vhost, name) = (self.vhost.name(), self.name.as_str());
        let rights = [
            "set_permissions",
            "--vhost",
            vhost,
            name,
            configure,
            write,
            read,
        ];
        self.vhost.broker.ctl(&rights).map(drop)
    }

    /// Restricts the keys under which it may publish to a topic exchange.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn permit_topic(&self, exchange: &str, write: &str) -> Result<()> {
        let (vhost, name) = (self.vhost.name(), self.name.as_str());
        let rights = [
            "set_topic_permissions",
            "--vhost",
            vhost,
            name,
            exchange,
            write,
            "^$",
        ];
        self.vhost.broker.ctl(&rights).map(drop)
    }

    /// Gives it another password.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn change_password(&self, password: &str) -> Result<()> {
        let change = ["change_password", &self.name, password];
        self.vhost.broker.ctl(&change).map(drop)
    }

    /// Closes all its connections.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn disconnect(&self) -> Result<()> {
        let closing = [
            "close_all_user_connections",
            &self.name,
            "told to by a test",
        ];
        self.vhost.broker.ctl(&closing).map(drop)
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        // The users of a node of our own go with its folder.
        if self.vhost.broker.node.is_some() {
            return;
        }
        if let Err(error) = self.vhost.broker.ctl(&["delete_user", &self.name]) {
            eprintln!("the user {} was left behind: {error:#}", self.name);
        }
    }
}

impl Drop for Vhost<'_> {
    fn drop(&mut self) {
        // The vhosts of a node of our own go with its folder.
        if self.broker.node.is_some() {
            return;
        }
        if let Err(error) = self.broker.ctl(&["delete_vhost", &self.name]) {
            eprintln!("the vhost {} was left behind: {error:#}", self.name);
        }
    }
}
