//! The endpoint behind a web-config of Prometheus's exporters: promtool, curl and a real Prometheus judge it.

use std::process::{Command, Output};
use std::time::Duration;

use offline_ksk_integration::http_client::HttpServer;

use crate::certificate::Issuer;
use crate::common;
use crate::site::{DAY, Process, Site};

/// `python3 -c "import crypt; print(crypt.crypt('secret', '$2b$04$abcdefghijklmnopqrstuu'))"`
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
pub const LIMIT: Duration = Duration::from_secs(30);

/// A site with certificates, and with `web.yml` as its web-config.
fn site(web: &str) -> Option<Site> {
    common::of_system("curl")?;
    let site = Site::new();
    let config = std::fs::read_to_string(site.path("offline-ksk.toml")).expect("the configuration");
    let metrics = "[metrics]\n";
    let with = format!("[metrics]\nweb-config = {:?}\n", site.path("web.yml"));
    site.write("offline-ksk.toml", &config.replace(metrics, &with));
    site.write("web.yml", web);
    certificate(&site, "server", (-DAYS_OF_LIFE / 2, DAYS_OF_LIFE / 2));
    let authority = certificate(&site, "authority", (-1, 365));
    crate::certificate::write(&site.path(""), "client", (-1, 365), Some(&authority));
    Some(site)
}

/// Life of the certificate of the server.
const DAYS_OF_LIFE: i64 = 360;

/// A certificate that vouches for itself, valid between these days from now.
pub fn certificate(site: &Site, name: &str, days: (i64, i64)) -> Issuer {
    crate::certificate::write(&site.path(""), name, days, None)
}

/// Status code, or curl's exit code where no answer came, and the body.
fn curl(site: &Site, url: &str, arguments: &[&str]) -> (String, String) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "10", "--write-out", "\n%{http_code}", "--cacert"]);
    let Output { status, stdout, stderr } =
        curl.arg(site.path("server.crt")).args(arguments).arg(url).output().expect("curl runs");
    let text = String::from_utf8_lossy(&stdout).into_owned();
    let (body, code) = text.rsplit_once('\n').expect("a code");
    if status.success() {
        (code.to_owned(), body.to_owned())
    } else {
        (format!("exit {}", status.code().unwrap_or(-1)), String::from_utf8_lossy(&stderr).into_owned())
    }
}

const TLS: &str =
    "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  min_version: TLS12\n";

pub fn conditions(site: &Site) -> String {
    let config = site.path("offline-ksk.toml").display().to_string();
    String::from_utf8(site.run(&["status", "-c", &config]).stdout).expect("text")
}

/// Writes a file by renaming another one, as a careful operator does.
pub fn replace(site: &Site, name: &str, text: &str) {
    site.write("new", text);
    std::fs::rename(site.path("new"), site.path(name)).expect("rename");
}

#[test]
fn prometheus_and_curl_pass_tls_and_password_and_nobody_else_does() {
    let web = format!(
        "{TLS}http_server_config:\n  headers: {{Strict-Transport-Security: max-age=600}}\nbasic_auth_users:\n  prometheus: {HASH}\n"
    );
    let Some(mut site) = site(&web) else { return };
    if let Some(mut promtool) = common::of_system("promtool") {
        common::run(promtool.args(["check", "web-config"]).arg(site.path("web.yml")));
    }
    site.drop_skr("long", 8, 14 * DAY);
    site.start();
    let (https, http) =
        (format!("https://127.0.0.1:{}", site.metrics), format!("http://127.0.0.1:{}", site.metrics));
    common::wait_for("the endpoint", LIMIT, || (curl(&site, &https, &[]).0 == "401").then_some(()));
    let right = ["--user", "prometheus:secret"];
    for (url, arguments, code, says) in [
        (format!("{https}/healthz"), &right[..], "200", "ok\n"),
        (format!("{https}/healthz"), &[&right[..], &["--include"]].concat()[..], "200", "max-age=600"),
        (format!("{https}/metrics"), &right[..], "200", "offlineksk_build_info"),
        (format!("{https}/"), &right[..], "200", "<!DOCTYPE html>"),
        (format!("{https}/metrics"), &[][..], "401", "the password, and not its hash"),
        (format!("{https}/metrics"), &["--user", "prometheus:wrong"][..], "401", ""),
        (format!("{https}/metrics"), &["--user", "nobody:secret"][..], "401", ""),
        (format!("{https}/metrics"), &["--user", &format!("prometheus:{HASH}")][..], "401", ""),
        (format!("{https}/metrics"), &[&right[..], &["--tls-max", "1.1"]].concat()[..], "exit 35", ""),
        (format!("{https}/metrics"), &[&right[..], &["--tls-max", "1.2"]].concat()[..], "200", ""),
        (format!("{http}/metrics"), &right[..], "400", "https://"),
    ] {
        let (found, body) = curl(&site, &url, arguments);
        assert!(found == code && body.contains(says), "{url} {arguments:?}: {found} {body}");
    }

    let Some(mut prometheus) = common::of_system("prometheus") else { return };
    let port = common::free_port();
    site.write("password", "secret\n");
    site.write(
        "prometheus.yml",
        &format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: any\n    scheme: https\n    tls_config: {{ca_file: server.crt}}\n    \
             basic_auth: {{username: prometheus, password_file: password}}\n    static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
            site.metrics
        ),
    );
    let _prometheus = Process::spawn(
        prometheus
            .arg(format!("--config.file={}", site.path("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", site.path("prometheus").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}")),
        &site.path("prometheus.log"),
    );
    let server = HttpServer::parse(&format!("http://127.0.0.1:{port}")).expect("a URL");
    common::wait_for("a scrape", LIMIT, || {
        server.get("/api/v1/targets?state=active").ok().filter(|said| said.contains("\"health\":\"up\""))
    });

    // A renewed certificate is shown without a reload.
    certificate(&site, "server", (-1, 365));
    common::wait_for("the renewed certificate", LIMIT, || {
        (curl(&site, &format!("{https}/healthz"), &right).0 == "200").then_some(())
    });
}

#[test]
fn certificate_that_ends_and_web_config_that_is_wrong_are_conditions_until_they_are_mended() {
    let Some(mut site) = site(TLS) else { return };
    site.start();
    let url = format!("https://127.0.0.1:{}/healthz", site.metrics);
    let is_well = || (curl(&site, &url, &[]).0 == "200").then_some(());
    common::wait_for("the endpoint", LIMIT, is_well);
    let says = |id: &str, there: bool| {
        common::wait_for(id, LIMIT, || (conditions(&site).contains(id) == there).then_some(()));
    };
    says("CERTIFICATE-ENDS-SOON", false);
    for (days, ends_soon) in [((-300, 22), false), ((-300, 20), true), ((-1, 90), false), ((-9, 0), true)] {
        certificate(&site, "server", days);
        says("CERTIFICATE-ENDS-SOON", ends_soon);
    }
    certificate(&site, "server", (-1, 365));
    says("CERTIFICATE-ENDS-SOON", false);

    for (text, place) in [
        ("tls_server_config:\n  cert_file: server.crt\n", "web.yml:2: "),
        (&*TLS.replace("server.key", "client.key"), "web.yml:2: the key is not that of the certificate"),
        (&*TLS.replace("server.crt", "missing.crt"), "missing.crt: No such file"),
        ("basic_auth_users: {a: secret}\n", "a is no bcrypt hash"),
    ] {
        replace(&site, "web.yml", text);
        says("CONFIG-REJECTED", true);
        common::wait_for(place, LIMIT, || conditions(&site).contains(place).then_some(()));
        assert!(is_well().is_some(), "what was in use stays in use");
        let config = site.path("offline-ksk.toml").display().to_string();
        let checked = site.run(&["serve", "--check-config", "-c", &config]);
        assert_eq!(checked.status.code(), Some(1), "{}", common::text(&checked));
        assert!(common::text(&checked).contains(place), "{}", common::text(&checked));
        replace(&site, "web.yml", TLS);
        says("CONFIG-REJECTED", false);
    }

    // One that is wrong from the start keeps the daemon from starting, and says where.
    site.stop();
    replace(&site, "web.yml", "nonsense: 1\n");
    let config = site.path("offline-ksk.toml").display().to_string();
    let started = site.run(&["serve", "-c", &config]);
    assert!(!started.status.success());
    assert!(
        common::text(&started).contains("web.yml:1: unknown field `nonsense`"),
        "{}",
        common::text(&started)
    );
}

#[test]
fn client_needs_a_certificate_of_the_authority_with_an_allowed_name() {
    let web = |allowed: &str| {
        format!(
            "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: authority.crt\n  client_allowed_sans: [{allowed}]\n"
        )
    };
    let Some(mut site) = site(&web("client.example")) else { return };
    site.start();
    let url = format!("https://127.0.0.1:{}/healthz", site.metrics);
    let path = |name: &str| site.path(name).display().to_string();
    let with = |name: &str| {
        let (cert, key) = (path(&format!("{name}.crt")), path(&format!("{name}.key")));
        curl(&site, &url, &["--cert", &cert, "--key", &key]).0
    };
    common::wait_for("the endpoint", LIMIT, || (with("client") == "200").then_some(()));
    assert!(with("server").starts_with("exit "), "another authority");
    assert!(curl(&site, &url, &[]).0.starts_with("exit "), "no certificate");
    replace(&site, "web.yml", &web("other.example"));
    common::wait_for("the new names", LIMIT, || with("client").starts_with("exit ").then_some(()));
}
