//! The tenants of a worker: who they are, how they connect, and what is wrong with two of one vhost.

use crate::{defaults, lines, worker};
use jailfleet::settings::{CredentialFile, Tenant, WorkerSettings};

const BASE: &str = r#"
    [amqp]
    uri = "amqp://fleet:own@broker:5672/unused"
    password_file = "/run/fleet"
"#;

fn with(tenants: &str) -> WorkerSettings {
    worker(&format!("{BASE}{tenants}"), &[], &[]).expect("it is right")
}

fn tenant<'a>(settings: &'a WorkerSettings, name: &str) -> &'a Tenant {
    let mut named = settings.tenants.iter();
    named
        .find(|tenant| tenant.name.as_str() == name)
        .expect("it is configured")
}

#[test]
fn without_tenants_the_vhost_of_the_uri_is_the_only_one() {
    assert_eq!(defaults().tenants, []);
    assert_eq!(defaults().amqp.vhost, None);
}

#[test]
fn a_tenant_has_a_vhost_and_a_weight_and_stands_in_the_order_of_names() {
    let settings = with(
        "[tenant_defaults]\nweight = 2\n[tenants.zoology]\nvhost = \"/\"\n\
         [tenants.art]\nvhost = \"a b/c\"\nweight = 7",
    );
    let told = settings.tenants.iter().map(|tenant| {
        let name = tenant.name.as_str();
        (name, tenant.vhost.as_str(), tenant.weight)
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told, [("art", "a b/c", 7), ("zoology", "/", 2)]);
}

#[test]
fn a_tenant_connects_as_the_worker_does_but_for_what_is_its_own() {
    let settings = with(
        "[tenants.plain]\nvhost = \"p\"\n\
         [tenants.user]\nvhost = \"u\"\nuri = \"amqp://u:secret@broker/else\"\n\
         [tenants.mounted]\nvhost = \"m\"\nuri_file = \"/run/m\"\npassword_file = \"/run/mp\"",
    );
    let of = |name| settings.amqp.of_tenant(tenant(&settings, name));
    let plain = of("plain");
    assert_eq!(plain.vhost.as_deref(), Some("p"));
    assert_eq!(plain.uri, settings.amqp.uri);
    assert_eq!(plain.password_file.as_deref(), Some("/run/fleet"));
    let user = of("user");
    assert_eq!(user.vhost.as_deref(), Some("u"), "not that of its URI");
    assert_eq!(user.uri.expose(), "amqp://u:secret@broker/else");
    assert_eq!(user.password_file, None, "that is another user's");
    let files = of("mounted").credential_files();
    let files: Vec<_> = files.iter().map(|(file, path)| (*file, &**path)).collect();
    assert_eq!(
        files,
        [
            (CredentialFile::Uri, "/run/m"),
            (CredentialFile::Password, "/run/mp")
        ]
    );
    assert_eq!(plain.prefix, user.prefix);
}

#[test]
fn tenants_are_printed_without_their_secrets_and_are_no_part_of_the_digest() {
    let settings = with(
        "[tenants.art]\nvhost = \"a\"\nuri = \"amqp://a:hunter2@h/\"\nweight = 3\n\
         [tenants.zoology]\nvhost = \"z\"\npassword_file = \"/run/z\"",
    );
    let printed = settings.to_toml_redacted();
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(!format!("{settings:?}").contains("hunter2"));
    let mut again = worker(&printed, &[], &[]).expect("it was right before");
    again.amqp.uri = settings.amqp.uri.clone();
    for (again, before) in again.tenants.iter_mut().zip(&settings.tenants) {
        again.uri.clone_from(&before.uri);
    }
    assert_eq!(again, settings, "{printed}");
    assert_eq!(settings.digest(), defaults().digest());
}

#[test]
fn what_is_wrong_with_tenants_is_said() {
    let many: String = (0..65)
        .map(|number| format!("[tenants.t{number}]\nvhost = \"v{number}\"\n"))
        .collect();
    for (file, part) in [
        ("[tenants.a]", "tenants.a.vhost: missing"),
        ("[tenants.a]\nvhost = \"\"", "1 to 1000 printable"),
        ("[tenants.A]\nvhost = \"a\"", "a letter first"),
        ("[tenants.a]\nvhost = \"a\"\nweight = 0", "from 1 to 1000"),
        (
            "[tenants.a]\nvhost = \"x\"\n[tenants.b]\nvhost = \"x\"",
            "tenants.b.vhost = \"x\": is the vhost of tenant a",
        ),
        (many.as_str(), "at most 64 tenants"),
        (
            "[tenants.a]\nvhost = \"a\"\nuri = \"hunter2\"",
            "tenants.a.uri = ***",
        ),
    ] {
        let said = lines(worker(file, &[], &[])).join("\n");
        assert!(said.contains(part), "{file}\nsaid\n{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let variable = [("JAILFLEET__TENANTS__A__VHOST", "a")];
    let said = lines(worker("", &variable, &[])).join("\n");
    assert!(said.contains("has no variable"), "{said}");
    // The same name at another broker is another vhost.
    with("[tenants.a]\nvhost = \"x\"\n[tenants.b]\nvhost = \"x\"\nuri = \"amqp://h/\"");
}
