//! TARGET of `tools`, `call` and `probe`: a URL, or the name of a bridge in the configuration, or `gateway`.

use std::net::SocketAddr;
use std::path::Path;

use clap::Args;
use reqwest::Url;

use super::client::Transport;
use super::{ConfigArgument, output, status};
use crate::config::{Bridge, Config, Environment, Listen, Secret};

/// Where the key comes from that no one else may see in a list of processes.
pub(super) const KEY_VARIABLE: &str = "MCP_BRIDGED_KEY";

/// The name of the gateway beside those of bridges.
pub(super) const GATEWAY: &str = "gateway";

#[derive(Debug, Args)]
pub(super) struct TargetArguments {
    /// A bridge's name or alias, `gateway`, or a URL; one that ends in /sse is spoken to by HTTP+SSE, others by Streamable HTTP
    target: String,
    #[command(flatten)]
    config: ConfigArgument,
    /// The key to present. Others see it in the list of processes, in the variable MCP_BRIDGED_KEY they don't
    /// [default: MCP_BRIDGED_KEY, else the bridge's first key in the configuration]
    #[arg(long)]
    key: Option<String>,
}

/// A server to speak with.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) transport: Transport,
    pub(super) key: Option<Secret>,
}

/// Why there is no target: a message and an exit status.
pub(super) type Refused = (String, u8);

impl TargetArguments {
    pub(super) fn resolve(self) -> Result<Target, Refused> {
        Target::of(&self.target, self.config, self.key)
    }
}

impl Target {
    /// The server at a URL or of a bridge, with the key that is given, or in the environment, or else the bridge's.
    pub(super) fn of(
        name: &str,
        config: ConfigArgument,
        key: Option<String>,
    ) -> Result<Self, Refused> {
        let environment = std::env::var(KEY_VARIABLE).ok();
        let given = key.or(environment);
        let given = given.filter(|key| !key.is_empty()).map(Secret::new);
        let mut target = if name.contains("://") {
            Self::of_url(name)?
        } else {
            let path = config
                .found()
                .map_err(|message| (message, status::CONFIG))?;
            find(&path, name)?
        };
        target.key = given.or(target.key);
        if let Some(key) = &target.key
            && !key.expose().bytes().all(|byte| byte.is_ascii_graphic())
        {
            let message = "the key has characters that no header can carry; it may have a line end";
            return Err((message.to_owned(), status::USAGE));
        }
        Ok(target)
    }

    fn of_url(text: &str) -> Result<Self, Refused> {
        let refuse = |why: &str| {
            let message = format!(
                "this URL {why}; expected a URL such as http://127.0.0.1:48001/mcp or the name of a bridge"
            );
            Err((message, status::USAGE))
        };
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return refuse(&format!("can't be read ({error})")),
        };
        if !matches!(url.scheme(), "http" | "https") {
            return refuse("begins with neither http:// nor https://");
        }
        let transport = match url.path().trim_end_matches('/').ends_with("/sse") {
            true => Transport::Sse,
            false => Transport::Streamable,
        };
        Ok(Self {
            url,
            transport,
            key: None,
        })
    }

    fn of_bridge(bridge: Bridge, file: &Path) -> Result<Self, Refused> {
        let name = &bridge.name;
        // What this shell lacks the daemon may have: with a port it is asked, and says itself what is missing.
        if let Some(cure) = bridge
            .unavailable
            .as_ref()
            .filter(|_| bridge.listen.port == 0)
        {
            let message = format!("bridge `{name}` is unavailable: {cure}");
            return Err((message, status::UNAVAILABLE));
        }
        let what = format!("bridge `{name}`");
        Self::at(&what, bridge.listen, &bridge.api_keys, file)
    }

    /// The one at `listen`; `what` it is for messages.
    fn at(what: &str, listen: Listen, keys: &[Secret], file: &Path) -> Result<Self, Refused> {
        if listen.port == 0 {
            let message = format!(
                "{what} takes a free port ({} says `port: 0`); give its URL, which `mcp-bridged status --json` has",
                file.display()
            );
            return Err((message, status::USAGE));
        }
        Ok(Self {
            url: url_of(output::seen(listen.address())),
            transport: Transport::Streamable,
            key: keys.iter().find(|key| !key.is_absent()).cloned(),
        })
    }
}

fn url_of(address: SocketAddr) -> Url {
    Url::parse(&format!("http://{address}/mcp")).expect("an address and a path make a URL")
}

/// The bridge of `file` that is called `name`, or its gateway.
fn find(file: &Path, name: &str) -> Result<Target, Refused> {
    // What this shell lacks the daemon may have.
    let loaded = Config::load_by_reference(file, &Environment::of_process());
    let config = loaded.map_err(|problems| (problems.to_string(), status::CONFIG))?;
    if let Some(remote) = config.remotes.iter().find(|remote| remote.is_called(name)) {
        let message = format!(
            "`{name}` is a remote server: give its URL, {}, and its key with --key, or ask the `gateway`",
            remote.url
        );
        return Err((message, status::USAGE));
    }
    let mut names: Vec<String> = config
        .bridges
        .iter()
        .flat_map(|bridge| [&bridge.name].into_iter().chain(&bridge.aliases))
        .cloned()
        .collect();
    let mut bridges = config.bridges.into_iter();
    if let Some(bridge) = bridges.find(|bridge| bridge.is_called(name)) {
        return Target::of_bridge(bridge, file);
    }
    if let Some(gateway) = config.gateway {
        if name == GATEWAY {
            let virtual_keys = gateway.virtual_keys.iter().map(|key| &key.key);
            let keys = gateway.master_key.iter().chain(virtual_keys);
            let keys: Vec<Secret> = keys.cloned().collect();
            return Target::at("the gateway", gateway.listen, &keys, file);
        }
        names.push(GATEWAY.to_owned());
    }
    let cure = match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it has {}", names.join(", ")),
    };
    let message = format!("{} has no bridge `{name}`; {cure}", file.display());
    Err((message, status::USAGE))
}

/// The one of `names` that `name` may have been meant to be.
pub(super) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let distance = |other: &&str| strsim::osa_distance(&plain(name), &plain(other));
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    names
        .min_by_key(distance)
        .filter(|near| distance(near) <= allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Command;

    #[test]
    fn the_path_of_a_url_chooses_the_transport() {
        for (text, transport) in [
            ("http://h:1/sse", Transport::Sse),
            ("https://h/db/sse/", Transport::Sse),
            ("http://h:1/mcp", Transport::Streamable),
            ("http://h:1", Transport::Streamable),
            ("http://h:1/sse/mcp", Transport::Streamable),
        ] {
            assert_eq!(Target::of_url(text).unwrap().transport, transport, "{text}");
        }
        for text in ["ftp://h/mcp", "http://", "://x"] {
            assert_eq!(Target::of_url(text).unwrap_err().1, status::USAGE, "{text}");
        }
    }

    #[test]
    fn a_bridge_that_listens_everywhere_is_reached_on_loopback() {
        for (host, url) in [
            ("0.0.0.0", "http://127.0.0.1:9/mcp"),
            ("::", "http://[::1]:9/mcp"),
            ("10.0.0.7", "http://10.0.0.7:9/mcp"),
        ] {
            let listen = Listen {
                host: host.parse().unwrap(),
                port: 9,
            };
            let mut bridge = Bridge::new("b".to_owned(), listen, Command::new("x".into()));
            bridge.api_keys = vec![Secret::new("k1".to_owned()), Secret::new("k2".to_owned())];
            let target = Target::of_bridge(bridge, Path::new("f")).unwrap();
            assert_eq!(target.url.as_str(), url);
            assert_eq!(target.key.unwrap().expose(), "k1");
        }
    }

    #[test]
    fn a_remote_server_is_named_with_its_url() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bridges.yaml");
        let text = "bridges:\n  far: { url: \"http://h:1/mcp\", aliases: [f] }\ngateway: {}\n";
        std::fs::write(&file, text).unwrap();
        for name in ["far", "f"] {
            let (message, code) = find(&file, name).unwrap_err();
            assert!(
                message.contains("give its URL, http://h:1/mcp"),
                "{message}"
            );
            assert_eq!(code, status::USAGE);
        }
    }

    #[test]
    fn the_nearest_name_is_near() {
        let names = || ["echo", "server_info", "db"].into_iter();
        assert_eq!(nearest("ehco", names()), Some("echo"));
        assert_eq!(nearest("server-infos", names()), Some("server_info"));
        assert_eq!(nearest("dB", names()), Some("db"));
        assert_eq!(nearest("delete", names()), None);
    }
}
