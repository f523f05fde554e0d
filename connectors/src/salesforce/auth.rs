//! Ways to a token: <https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_flows.htm>.

use super::{config::Auth, error};
use crate::error::ConnectorError;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Client, Url, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where tokens are given.
const TOKEN_PATH: &str = "/services/oauth2/token";
/// For how long a signed assertion holds; Salesforce takes at most five minutes.
const ASSERTION_HOLDS: Duration = Duration::from_mins(3);

/// What a request is signed with. No `Debug`: it is a secret.
pub(super) struct Token {
    pub(super) access: String,
    /// Where the organisation's data are.
    pub(super) instance: Url,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    instance_url: String,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: u64,
}

/// Asks for a token. Nothing of what was sent is in an error.
pub(super) async fn mint(http: &Client, login: &Url, auth: &Auth) -> Result<Token, ConnectorError> {
    let host = login.host_str().unwrap_or_default();
    let url = login.join(TOKEN_PATH).map_err(|_| error::configuration("/login_url", "no address"))?;
    let body = form(&parameters(login, auth)?);
    let sent = http.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body).send();
    let response = sent.await.map_err(|cause| super::session::broken(host, &cause))?;
    let status = response.status();
    let retry_after = super::session::retry_after(&response);
    let bytes = response.bytes().await.map_err(|cause| super::session::broken(host, &cause))?;
    if status.is_success() {
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|_| error::unreadable(format!("`{host}` answers a sign-in with what is no token")))?;
        let instance = Url::parse(&answer.instance_url)
            .ok()
            .filter(Url::has_host)
            .ok_or_else(|| error::unreadable(format!("`{host}` names no instance")))?;
        return Ok(Token { access: answer.access_token, instance });
    }
    match serde_json::from_slice::<Refusal>(&bytes) {
        Ok(refusal) if status.is_client_error() && status != 429 => {
            Err(error::authentication(format!("{}{}", refused(&refusal), mend(&refusal, auth))))
        }
        _ if status.is_redirection() => Err(error::configuration(
            "/login_url",
            format!("`{host}` sends the sign-in elsewhere: use the organisation's My Domain"),
        )),
        _ => Err(error::answered(status.as_u16(), retry_after, &bytes).error),
    }
}

fn refused(refusal: &Refusal) -> String {
    let text: String = refusal.error_description.chars().take(200).collect();
    format!("Salesforce refuses the sign-in: {text} ({})", refusal.error)
}

/// What may be done about it.
fn mend(refusal: &Refusal, auth: &Auth) -> &'static str {
    match (refusal.error.as_str(), auth) {
        ("invalid_client_id" | "invalid_client", _) => ": check the consumer key and the secret",
        ("invalid_grant", Auth::RefreshToken { .. }) => {
            ": the refresh token was revoked or has expired, authorise the app again"
        }
        ("invalid_grant", Auth::JwtBearer { .. }) => {
            ": check the user, that an administrator approved the app for them, and that the key is the app's"
        }
        ("invalid_grant", Auth::ClientCredentials { .. }) => {
            ": use the My Domain host, and name a user to run as in the app"
        }
        ("unsupported_grant_type", Auth::ClientCredentials { .. }) => {
            ": switch the client credentials flow on in the app, and use the My Domain host"
        }
        ("inactive_user" | "inactive_org", _) => ": the user or the organisation is not active",
        _ => "",
    }
}

fn parameters(login: &Url, auth: &Auth) -> Result<Vec<(&'static str, String)>, ConnectorError> {
    Ok(match auth {
        Auth::RefreshToken { client_id, client_secret, refresh_token } => {
            let mut all = vec![
                ("grant_type", "refresh_token".to_owned()),
                ("client_id", client_id.clone()),
                ("refresh_token", refresh_token.clone()),
            ];
            if !client_secret.is_empty() {
                all.push(("client_secret", client_secret.clone()));
            }
            all
        }
        Auth::JwtBearer { client_id, username, private_key } => vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()),
            ("assertion", assertion(login, client_id, username, private_key)?),
        ],
        Auth::ClientCredentials { client_id, client_secret } => vec![
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", client_id.clone()),
            ("client_secret", client_secret.clone()),
        ],
    })
}

fn assertion(login: &Url, client: &str, user: &str, key: &str) -> Result<String, ConnectorError> {
    let wrong = || error::configuration("/auth/private_key", "`private_key` is no RSA key in PEM");
    let pem = crate::pem::lines(key).ok_or_else(wrong)?;
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| wrong())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let claims = Claims {
        iss: client,
        sub: user,
        aud: login.as_str().trim_end_matches('/'),
        exp: (now + ASSERTION_HOLDS).as_secs(),
    };
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).map_err(|_| wrong())
}

fn form(parameters: &[(&str, String)]) -> String {
    let mut url = Url::parse("http://form").unwrap_or_else(|_| unreachable!("a literal"));
    url.query_pairs_mut().extend_pairs(parameters);
    url.query().unwrap_or_default().to_owned()
}
