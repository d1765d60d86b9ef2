//! The `OTEL_*` variables (OpenTelemetry, Environment Variable Specification; OTLP Exporter Configuration).
//!
//! Only what was set counts; an empty value is none. A value that means nothing is named and passed over.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::otlp::Resource;
use crate::trace::{Root, Sampler};

/// What the environment asks for.
#[derive(Debug)]
pub(super) struct Asked {
    /// `None`: no traces.
    pub(super) settings: Option<Settings>,
    /// What is wrong with it.
    pub(super) complaints: Vec<String>,
}

/// What is exported, and where to.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) target: Target,
    pub(super) resource: Resource,
    pub(super) sampler: Sampler,
    pub(super) batches: Batches,
}

/// A collector. Its headers are secrets, which `Debug` leaves out.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// For one request.
    pub(super) timeout: Duration,
    /// PEM, of whom the collector's own certificate is.
    pub(super) certificate: Option<PathBuf>,
}

impl Target {
    /// Host and port, for the log.
    pub(super) fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or_default();
        format!("{host}:{port}")
    }
}

/// How records are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batches {
    /// Records that may wait.
    pub(super) queue: usize,
    /// Records of one request.
    pub(super) size: usize,
    /// How long the first one of a request waits for the others.
    pub(super) delay: Duration,
}

/// Reads the variables that `variable` knows.
pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Asked {
    let mut reader = Reader {
        variable: |name: &str| variable(name).filter(|value| !value.trim().is_empty()),
        complaints: Vec::new(),
    };
    let settings = reader.settings();
    Asked {
        settings,
        complaints: reader.complaints,
    }
}

struct Reader<F> {
    variable: F,
    complaints: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn settings(&mut self) -> Option<Settings> {
        if self
            .get("OTEL_SDK_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        {
            return None;
        }
        let own = self.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let base = self.get("OTEL_EXPORTER_OTLP_ENDPOINT");
        // The standard's default is a collector on this machine; a program that nobody told of one looks for none.
        match self.get("OTEL_TRACES_EXPORTER").as_deref().map(str::trim) {
            None if own.is_none() && base.is_none() => return None,
            None | Some("otlp") => {}
            Some("none") => return None,
            Some(_) => {
                return self.nothing("OTEL_TRACES_EXPORTER is otlp or none");
            }
        }
        if self
            .otlp("PROTOCOL")
            .is_some_and(|value| value.trim() != "http/protobuf")
        {
            return self.nothing("OTEL_EXPORTER_OTLP_PROTOCOL can only be http/protobuf");
        }
        let url = match (own, base) {
            (Some(own), _) => own,
            (None, Some(base)) => format!("{}/v1/traces", base.trim().trim_end_matches('/')),
            (None, None) => "http://localhost:4318/v1/traces".to_owned(),
        };
        let url = match Url::parse(url.trim()) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => url,
            _ => return self.nothing("OTEL_EXPORTER_OTLP_ENDPOINT is no URL of http or https"),
        };
        if self
            .otlp("COMPRESSION")
            .is_some_and(|value| value.trim() != "none")
        {
            self.complain("OTEL_EXPORTER_OTLP_COMPRESSION: nothing is compressed");
        }
        if self.otlp("CLIENT_CERTIFICATE").is_some() {
            self.complain("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: no certificate of ours is sent");
        }
        let target = Target {
            url,
            headers: self.headers(),
            timeout: self.otlp_millis("TIMEOUT", 10_000),
            certificate: self.otlp("CERTIFICATE").map(PathBuf::from),
        };
        let queue = self
            .number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)
            .clamp(1, 65_536);
        let size = self.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512);
        let delay = self.number("OTEL_BSP_SCHEDULE_DELAY", 5000);
        Some(Settings {
            target,
            resource: self.resource(),
            sampler: self.sampler(),
            batches: Batches {
                queue,
                size: size.clamp(1, queue),
                delay: Duration::from_millis(delay),
            },
        })
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name)
    }

    /// The variable for traces, else the one for all signals.
    fn otlp(&self, name: &str) -> Option<String> {
        self.get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
            .or_else(|| self.get(&format!("OTEL_EXPORTER_OTLP_{name}")))
    }

    fn complain(&mut self, text: impl Into<String>) {
        self.complaints.push(text.into());
    }

    fn nothing(&mut self, why: &str) -> Option<Settings> {
        self.complain(format!("traces are not exported: {why}"));
        None
    }

    fn number<N: FromStr>(&mut self, name: &str, default: N) -> N {
        let Some(text) = self.get(name) else {
            return default;
        };
        text.trim().parse().unwrap_or_else(|_| {
            self.complain(format!("{name} is no number and passed over"));
            default
        })
    }

    fn otlp_millis(&mut self, name: &str, default: u64) -> Duration {
        let own = format!("OTEL_EXPORTER_OTLP_TRACES_{name}");
        let name = match self.get(&own) {
            Some(_) => own,
            None => format!("OTEL_EXPORTER_OTLP_{name}"),
        };
        Duration::from_millis(self.number(&name, default))
    }

    fn headers(&mut self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs(&self.otlp("HEADERS").unwrap_or_default()) {
            match (HeaderName::try_from(&name), HeaderValue::try_from(&value)) {
                (Ok(name), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.insert(name, value);
                }
                _ => self.complain("OTEL_EXPORTER_OTLP_HEADERS: one is no header and passed over"),
            }
        }
        headers
    }

    fn resource(&self) -> Resource {
        let mut resource = vec![
            ("service.name".to_owned(), "mcp-bridged".to_owned()),
            (
                "service.version".to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            ),
            ("telemetry.sdk.name".to_owned(), "mcp-bridged".to_owned()),
            ("telemetry.sdk.language".to_owned(), "rust".to_owned()),
            (
                "telemetry.sdk.version".to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            ),
        ];
        let named = self
            .get("OTEL_SERVICE_NAME")
            .map(|name| ("service.name".to_owned(), name));
        let more = pairs(&self.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
        for (key, value) in more.into_iter().chain(named) {
            match resource.iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) => *known = value,
                None => resource.push((key, value)),
            }
        }
        resource
    }

    fn sampler(&mut self) -> Sampler {
        let name = self.get("OTEL_TRACES_SAMPLER").unwrap_or_default();
        let name = name.trim();
        let root = name.strip_prefix("parentbased_");
        Sampler {
            follows_parent: root.is_some() || name.is_empty(),
            root: match root.unwrap_or(name) {
                "" | "always_on" => Root::AlwaysOn,
                "always_off" => Root::AlwaysOff,
                "traceidratio" => {
                    let ratio = self.number("OTEL_TRACES_SAMPLER_ARG", 1.0_f64);
                    Root::Ratio(if ratio.is_nan() { 1.0 } else { ratio })
                }
                _ => {
                    self.complain("OTEL_TRACES_SAMPLER is not known and passed over");
                    return Sampler::default();
                }
            },
        }
    }
}

/// `key=value,…` with values that are percent-encoded; what is none is left out.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let key = key.trim();
        (!key.is_empty()).then(|| (key.to_owned(), value.into_owned()))
    };
    text.split(',').filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(variables: &[(&str, &str)]) -> Asked {
        read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");

    #[test]
    fn traces_go_where_the_variables_say() {
        for (variables, want) in [
            (&[][..], None),
            (
                &[
                    ("OTEL_SERVICE_NAME", "x"),
                    ("OTEL_TRACES_SAMPLER", "always_on"),
                ],
                None,
            ),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], None),
            (&[ENDPOINT], Some("http://c:4318/v1/traces")),
            (
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c/otlp/")],
                Some("https://c/otlp/v1/traces"),
            ),
            (
                &[
                    ENDPOINT,
                    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/x"),
                ],
                Some("http://t/x"),
            ),
            (
                &[("OTEL_TRACES_EXPORTER", "otlp")],
                Some("http://localhost:4318/v1/traces"),
            ),
            (&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")], None),
            (&[ENDPOINT, ("OTEL_SDK_DISABLED", "True")], None),
            (
                &[ENDPOINT, ("OTEL_SDK_DISABLED", "false")],
                Some("http://c:4318/v1/traces"),
            ),
            (
                &[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
                Some("http://c:4318/v1/traces"),
            ),
        ] {
            let asked = asked(variables);
            let url = asked
                .settings
                .map(|settings| settings.target.url.to_string());
            assert_eq!(url.as_deref(), want, "{variables:?}");
            assert!(asked.complaints.is_empty(), "{:?}", asked.complaints);
        }
    }

    #[test]
    fn what_cannot_be_had_is_said_and_exports_nothing() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "nonsense"),
        ] {
            let asked = asked(&[ENDPOINT, (name, value)]);
            assert!(asked.settings.is_none(), "{name}");
            assert_eq!(asked.complaints.len(), 1, "{name}");
        }
    }

    #[test]
    fn values_that_mean_nothing_are_named_and_passed_over() {
        let asked = asked(&[
            ENDPOINT,
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1s"),
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "b ad=secret"),
        ]);
        assert_eq!(asked.complaints.len(), 5, "{:?}", asked.complaints);
        assert!(!format!("{:?}", asked.complaints).contains("secret"));
        let settings = asked.settings.unwrap();
        assert_eq!(settings.sampler, Sampler::default());
        assert_eq!(settings.target.timeout, Duration::from_secs(10));
        let batches = Batches {
            queue: 2048,
            size: 512,
            delay: Duration::from_secs(5),
        };
        assert_eq!(settings.batches, batches);
    }

    #[test]
    fn headers_and_attributes_are_lists_of_pairs() {
        let asked = asked(&[
            ENDPOINT,
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Bearer%20s3cret, x-tenant=a=b ,,z",
            ),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=ignored,deployment.environment.name=caf%C3%A9",
            ),
            ("OTEL_SERVICE_NAME", "tools"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ]);
        let settings = asked.settings.unwrap();
        assert_eq!(settings.target.headers["authorization"], "Bearer s3cret");
        assert_eq!(settings.target.headers["x-tenant"], "a=b");
        assert!(!format!("{settings:?}").contains("s3cret"));
        let has = |key: &str, value: &str| {
            settings
                .resource
                .contains(&(key.to_owned(), value.to_owned()))
        };
        assert!(has("service.name", "tools") && has("deployment.environment.name", "café"));
        assert_eq!(
            settings.batches.size, 10,
            "a batch is no larger than the queue"
        );
    }

    #[test]
    fn samplers_have_the_standards_names() {
        for (name, argument, root, follows_parent) in [
            ("always_on", "", Root::AlwaysOn, false),
            ("always_off", "", Root::AlwaysOff, false),
            ("traceidratio", "0.5", Root::Ratio(0.5), false),
            ("traceidratio", "", Root::Ratio(1.0), false),
            ("parentbased_always_on", "", Root::AlwaysOn, true),
            ("parentbased_always_off", "", Root::AlwaysOff, true),
            ("parentbased_traceidratio", "0.1", Root::Ratio(0.1), true),
            ("", "", Root::AlwaysOn, true),
        ] {
            let asked = asked(&[
                ENDPOINT,
                ("OTEL_TRACES_SAMPLER", name),
                ("OTEL_TRACES_SAMPLER_ARG", argument),
            ]);
            let want = Sampler {
                root,
                follows_parent,
            };
            assert_eq!(asked.settings.unwrap().sampler, want, "{name}");
        }
    }
}
