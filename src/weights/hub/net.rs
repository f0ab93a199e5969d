//! Requests to the Hub, and what its refusals mean.

use std::io;
use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body, Timeout};

use super::cache::{given, token};

/// The Hub itself, where `HF_ENDPOINT` names no other.
const HUB: &str = "https://huggingface.co";
/// Seconds without an answer, or without a byte, after which a server is given up, as in `huggingface_hub`.
const PATIENCE: u64 = 10;
/// Redirects from one name of a repository to another.
const MOST_RENAMES: usize = 5;
/// Bytes of the largest description of a repository.
const MOST_INFO: u64 = 64 << 20;
/// Waits before another try.
pub(super) const WAITS: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Why something did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It may come another time.
    Passing(String),
    /// The server cannot be reached at all.
    Unreachable(String),
    /// It will not.
    Final(String),
}

impl Refusal {
    pub fn reason(self) -> String {
        match self {
            Refusal::Passing(reason) | Refusal::Unreachable(reason) | Refusal::Final(reason) => reason,
        }
    }
}

/// What the Hub says about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    /// Of a large file the SHA-256 of its bytes, of others another name of their content.
    pub etag: String,
    pub size: u64,
}

/// A connection, and as whom.
pub(super) struct Net {
    pub endpoint: String,
    token: Option<String>,
    /// Follows redirects; the token goes to the Hub alone.
    agent: Agent,
    /// Shows them.
    direct: Agent,
    limits: Limits,
}

/// Seconds of patience.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// For an answer.
    pub answer: u64,
    /// For the next byte of a file.
    pub bytes: u64,
}

fn seconds(key: &str) -> u64 {
    given(key).and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0).unwrap_or(PATIENCE)
}

impl Net {
    /// As `HF_ENDPOINT`, `HF_TOKEN` (else the token that is kept), `HF_HUB_ETAG_TIMEOUT` and `HF_HUB_DOWNLOAD_TIMEOUT` say.
    pub fn from_env() -> Net {
        let endpoint = given("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned()).trim_end_matches('/').to_owned();
        let limits = Limits { answer: seconds("HF_HUB_ETAG_TIMEOUT"), bytes: seconds("HF_HUB_DOWNLOAD_TIMEOUT") };
        let agent = |redirects| {
            let (answer, bytes) = (Duration::from_secs(limits.answer), Duration::from_secs(limits.bytes));
            let config = Agent::config_builder()
                .user_agent(concat!("mvd/", env!("CARGO_PKG_VERSION")))
                .http_status_as_error(false)
                .max_redirects(redirects)
                .redirect_auth_headers(RedirectAuthHeaders::SameHost)
                .timeout_resolve(Some(answer))
                .timeout_connect(Some(answer))
                .timeout_send_request(Some(answer))
                .timeout_recv_response(Some(answer))
                .timeout_per_read(Some(bytes));
            config.build().new_agent()
        };
        Net { endpoint, token: token(), agent: agent(10), direct: agent(0), limits }
    }

    /// Where a file is asked for.
    pub fn url(&self, repository: &str, revision: &str, file: &str) -> String {
        format!("{}/{repository}/resolve/{revision}/{file}", self.endpoint)
    }

    /// What the Hub says about a repository at a revision, as JSON.
    pub fn info(&self, repository: &str, revision: &str) -> Result<serde_json::Value, Refusal> {
        let url = format!("{}/api/models/{repository}/revision/{revision}", self.endpoint);
        let response = self.patiently(|| {
            let request = self.agent.get(&url).header("Accept-Encoding", "identity");
            self.checked(self.signed(request).call(), "repository", revision)
        })?;
        let reader = response.into_body().into_with_config().limit(MOST_INFO).reader();
        serde_json::from_reader(reader).map_err(|e| Refusal::Final(format!("{url} sent no description: {e}")))
    }

    /// What the Hub says about a file. Large files lie elsewhere; redirects to there are not followed, to a new name of the
    /// repository they are.
    pub fn about(&self, repository: &str, revision: &str, file: &str) -> Result<About, Refusal> {
        let first = self.url(repository, revision, file);
        let response = self.patiently(|| {
            let mut url = first.clone();
            for _ in 0..MOST_RENAMES {
                let request = self.direct.head(&url).header("Accept-Encoding", "identity");
                let response = self.checked(self.signed(request).call(), "file", revision)?;
                match renamed(&url, &response) {
                    Some(to) => url = to,
                    None => return Ok(response),
                }
            }
            Err(Refusal::Final(format!("{first} leads in circles")))
        })?;
        let of = |linked, plain| header(response.headers(), linked).or_else(|| header(response.headers(), plain));
        let missing = |what| Refusal::Final(format!("{first} says no {what}"));
        let etag = of("x-linked-etag", "etag").ok_or_else(|| missing("ETag"))?;
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        let size = of("x-linked-size", "content-length").and_then(|size| size.parse().ok());
        Ok(About { etag, size: size.ok_or_else(|| missing("length"))? })
    }

    /// Asks for a file's bytes from `start` on.
    pub fn bytes(&self, url: &str, revision: &str, start: u64) -> Result<Response<Body>, Refusal> {
        let mut request = self.agent.get(url).header("Accept-Encoding", "identity");
        if start > 0 {
            request = request.header("Range", format!("bytes={start}-"));
        }
        self.checked(self.signed(request).call(), "file", revision)
    }

    fn signed<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// Tries again, for a while, what a server that can be reached does not answer.
    fn patiently<T>(&self, ask: impl Fn() -> Result<T, Refusal>) -> Result<T, Refusal> {
        for wait in &WAITS[..2] {
            match ask() {
                Err(Refusal::Passing(reason)) => log::info!("{reason}; trying again"),
                done => return done,
            }
            std::thread::sleep(*wait);
        }
        ask()
    }

    fn checked(
        &self,
        answer: Result<Response<Body>, ureq::Error>,
        what: &str,
        revision: &str,
    ) -> Result<Response<Body>, Refusal> {
        let response = answer.map_err(|e| self.unreachable(&e))?;
        let code = response.status().as_u16();
        if code < 400 {
            return Ok(response);
        }
        let says = header(response.headers(), "x-error-message").map_or_else(String::new, |text| format!(": {text}"));
        Err(refused(&self.endpoint, code, header(response.headers(), "x-error-code"), what, revision, &says))
    }

    fn unreachable(&self, error: &ureq::Error) -> Refusal {
        let Net { endpoint, limits, .. } = self;
        let answer = limits.answer;
        match error {
            ureq::Error::Timeout(
                Timeout::PerRead | Timeout::PerWrite | Timeout::RecvResponse | Timeout::SendRequest,
            ) => Refusal::Passing(format!(
                "{endpoint} gave no answer for {} s (HF_HUB_ETAG_TIMEOUT)",
                answer.min(limits.bytes)
            )),
            other => Refusal::Unreachable(format!(
                "{}: cannot reach {endpoint} ({other}). What helps: a folder or file on this machine in place of the hf: name; \
                 HF_ENDPOINT=https://... for a mirror of the Hub; HTTPS_PROXY=http://... where the network is behind a proxy",
                why(other)
            )),
        }
    }

    /// Why the bytes of a body ended.
    pub fn broken(&self, error: io::Error) -> String {
        let Limits { bytes, .. } = self.limits;
        match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
            Some(ureq::Error::Timeout(_)) => format!("nothing came for {bytes} s (HF_HUB_DOWNLOAD_TIMEOUT)"),
            _ => format!("the connection broke: {error}"),
        }
    }
}

/// Why a server cannot be reached, in plain words.
fn why(error: &ureq::Error) -> &'static str {
    match error {
        ureq::Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => "no server answers there",
        ureq::Error::Tls(_) | ureq::Error::Pem(_) | ureq::Error::Rustls(_) => "no secure connection",
        ureq::Error::InvalidProxyUrl | ureq::Error::ConnectProxyFailed(_) => "the proxy cannot be used",
        _ => "no network or no such host",
    }
}

/// Where a redirect within the same server leads, which is to another name; what says the file's ETag already is followed no further.
fn renamed(url: &str, response: &Response<Body>) -> Option<String> {
    let headers = response.headers();
    let to = header(headers, "location").filter(|_| response.status().is_redirection())?;
    if header(headers, "x-linked-etag").is_some() {
        return None;
    }
    let relative = to.starts_with('/') && !to.starts_with("//");
    let host = origin(url);
    if relative { Some(format!("{host}{to}")) } else { Some(to.to_owned()).filter(|to| origin(to) == host) }
}

/// What stands before a URL's path.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |path| &url[..host + path])
}

/// A header's text.
pub(super) fn header<'a>(headers: &'a HeaderMap, key: &str) -> Option<&'a str> {
    headers.get(key).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty())
}

/// What a status means, and the way out.
fn refused(endpoint: &str, code: u16, kind: Option<&str>, what: &str, revision: &str, says: &str) -> Refusal {
    let text = match (code, kind) {
        (404, Some("RevisionNotFound")) => {
            format!("{endpoint} has no revision {revision} of it (404); its page lists them")
        }
        (404, _) => format!("{endpoint} has no such {what} at revision {revision} (404); its page lists what there is"),
        (_, Some("GatedRepo")) => format!(
            "{endpoint} keeps it gated ({code}){says}; ask for access on its page, then set HF_TOKEN to a token of that account"
        ),
        (401 | 403, _) => format!(
            "{endpoint} refuses it ({code}){says}: there is no such {what}, or it is private or gated; \
             set HF_TOKEN to a token that may read it"
        ),
        (408 | 429 | 500.., _) => {
            return Refusal::Passing(format!("{endpoint} answered {code}{says}; try again later"));
        }
        _ => format!("{endpoint} answered {code}{says}"),
    };
    Refusal::Final(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_start_at_the_host() {
        for url in ["https://hub.example:8080/a/b", "https://hub.example:8080/", "https://hub.example:8080"] {
            assert_eq!(origin(url), "https://hub.example:8080");
        }
    }

    #[test]
    fn what_cannot_be_reached_is_said_in_plain_words() {
        let io = |e: io::Error| why(&ureq::Error::Io(e));
        let unknown = io(io::Error::other("failed to lookup address information"));
        assert_eq!([why(&ureq::Error::HostNotFound), unknown], ["no network or no such host"; 2]);
        assert_eq!(io(io::ErrorKind::ConnectionRefused.into()), "no server answers there");
        assert_eq!(why(&ureq::Error::Tls("no")), "no secure connection");
        assert_eq!(why(&ureq::Error::InvalidProxyUrl), "the proxy cannot be used");
    }

    #[test]
    fn refusals_say_the_way_out() {
        let of = |code, kind| refused("http://hub", code, kind, "repository", "v2", "");
        for (code, kind, part) in [
            (404, Some("RevisionNotFound"), "no revision v2 of it"),
            (404, None, "no such repository at revision v2"),
            (401, None, "set HF_TOKEN to a token that may read it"),
            (403, Some("GatedRepo"), "ask for access on its page"),
            (418, None, "answered 418"),
        ] {
            let Refusal::Final(text) = of(code, kind) else { panic!("{code} may pass") };
            assert!(text.contains(part) && text.contains("http://hub") && text.contains(&code.to_string()), "{text}");
        }
        for code in [408, 429, 500, 503] {
            assert!(matches!(of(code, None), Refusal::Passing(text) if text.contains(&code.to_string())));
        }
    }
}
