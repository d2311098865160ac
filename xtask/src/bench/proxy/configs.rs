//! What the peers are told: the same routes, one worker, connections that are kept on both sides, an access log, and
//! the headers that Updraft adds as well.
//!
//! Each is told in its own manner for many hosts: nginx has a server for each and finds it by a hash, HAProxy looks the
//! host up in a map, and Caddy has a route for each site, as its adapter would make of a Caddyfile.

use std::{fmt::Write as _, net::SocketAddr, path::Path};

use serde_json::{Value, json};

/// Connections to the backend that are kept: no fewer than clients there are.
const KEPT: usize = 1024;
/// Connections of clients that there may be: twice as many files, and some machines allow no more than 20,000.
const CONNECTIONS: usize = 8_000;
/// No connection is closed for having had many requests.
const REQUESTS: u64 = 1_000_000_000;

/// What all of them are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    /// Where to listen.
    pub(super) listen: SocketAddr,
    /// The backend.
    pub(super) backend: SocketAddr,
    /// The hosts that have a route. All others are refused.
    pub(super) hosts: &'a [String],
    /// A directory for its files.
    pub(super) dir: &'a Path,
}

/// nginx.conf. Its log is written in pieces, as ours is.
pub(super) fn nginx(setting: Setting<'_>) -> String {
    let Setting { listen, backend, hosts, dir } = setting;
    let dir = dir.display();
    let mut out = format!(
        "daemon off;\nuser root;\nworker_processes 1;\n\
         pid {dir}/pid;\nerror_log {dir}/error.log;\nevents {{ worker_connections {CONNECTIONS}; }}\nhttp {{\n\
         access_log {dir}/access.log combined buffer=64k flush=1s;\n\
         keepalive_requests {REQUESTS};\nkeepalive_timeout 1h;\n\
         server_names_hash_max_size 262144;\nserver_names_hash_bucket_size 128;\n\
         upstream backend {{ server {backend}; keepalive {KEPT}; keepalive_requests {REQUESTS}; }}\n\
         proxy_http_version 1.1;\nproxy_set_header Connection \"\";\nproxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\nproxy_set_header X-Forwarded-Proto $scheme;\n\
         server {{ listen {listen} default_server; return 404; }}\n"
    );
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(out, "{kind}_temp_path {dir}/{kind};");
    }
    for host in hosts {
        let _ = writeln!(
            out,
            "server {{ listen {listen}; server_name {host}; location / {{ proxy_pass http://backend; }} }}"
        );
    }
    out + "}\n"
}

/// haproxy.cfg. Its log is what it writes on stdout.
pub(super) fn haproxy(setting: Setting<'_>) -> String {
    let Setting { listen, backend, dir, .. } = setting;
    format!(
        "global\n  nbthread 1\n  maxconn {CONNECTIONS}\n  log stdout format raw local0 info\n\
         defaults\n  mode http\n  log global\n  option httplog\n  option forwardfor\n  http-reuse always\n\
         \x20 timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n\
         frontend door\n  bind {listen}\n  http-request set-header X-Forwarded-Proto http\n\
         \x20 use_backend %[req.hdr(host),field(1,:),lower,map_str({}/hosts.map)]\n\
         backend instance\n  server one {backend} pool-max-conn {KEPT} pool-purge-delay 1h\n",
        dir.display()
    )
}

/// The map that haproxy.cfg names.
pub(super) fn haproxy_map(hosts: &[String]) -> String {
    hosts.iter().map(|host| format!("{host} instance\n")).collect()
}

/// Caddy's JSON.
pub(super) fn caddy(setting: Setting<'_>) -> Value {
    let proxy = json!({
        "handler": "reverse_proxy",
        "upstreams": [{ "dial": setting.backend.to_string() }],
        "transport": { "protocol": "http", "keep_alive": { "max_idle_conns_per_host": KEPT, "idle_timeout": "1h" } },
    });
    let route = |host: &String| json!({ "match": [{ "host": [host] }], "handle": [proxy], "terminal": true });
    let mut routes: Vec<Value> = setting.hosts.iter().map(route).collect();
    routes.push(json!({ "handle": [{ "handler": "static_response", "status_code": 404 }] }));
    let log = setting.dir.join("access.log");
    json!({
        "admin": { "disabled": true },
        "logging": { "logs": { "default": {
            "writer": { "output": "file", "filename": log, "roll": false }, "encoder": { "format": "json" },
        } } },
        "apps": { "http": { "servers": { "door": {
            "listen": [setting.listen.to_string()],
            "automatic_https": { "disable": true },
            "idle_timeout": "1h",
            "logs": {},
            "routes": routes,
        } } } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_every_host_the_backend_and_a_log() {
        let hosts: Vec<String> = ["a.test", "b.test"].map(str::to_owned).into();
        let (listen, backend) = (SocketAddr::from(([127, 0, 0, 1], 81)), SocketAddr::from(([10, 0, 0, 2], 8080)));
        let setting = Setting { listen, backend, hosts: &hosts, dir: Path::new("/dir") };
        let haproxy = haproxy(setting) + &haproxy_map(&hosts);
        for config in [nginx(setting), haproxy, caddy(setting).to_string()] {
            for wanted in ["a.test", "b.test", "127.0.0.1:81", "10.0.0.2:8080", "log"] {
                assert!(config.contains(wanted), "{wanted} in {config}");
            }
        }
    }
}
