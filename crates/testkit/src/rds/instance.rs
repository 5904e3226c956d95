//! One instance as the API shows it.

use super::answer::{Refusal, element, tag_list};
use super::cluster::Cluster;
use super::query::Query;

/// Account and region in ARNs; nobody looks at them here.
const ARN_PREFIX: &str = "arn:aws:rds:eu-central-1:000000000000:db:";

/// What was asked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) class: String,
    pub(super) major: u32,
    pub(super) storage_gib: String,
    pub(super) master: String,
    /// `None` when RDS shall choose and keep it.
    pub(super) password: Option<String>,
    pub(super) database: Option<String>,
    pub(super) protected: bool,
}

impl Wanted {
    pub(super) fn from_query(query: &Query) -> Result<Self, Refusal> {
        let name = query.required("DBInstanceIdentifier")?.to_lowercase();
        check_name(&name)?;
        if query.required("Engine")? != "postgres" {
            return Err(Refusal::new(
                "InvalidParameterValue",
                "Invalid DB engine: this double has postgres only.",
            ));
        }
        let version = query.required("EngineVersion")?;
        let major = version.split('.').next().and_then(|major| major.parse().ok());
        let storage = query.required("AllocatedStorage")?;
        if !storage.parse::<u32>().is_ok_and(|gib| (20..=65_536).contains(&gib)) {
            return Err(Refusal::new(
                "InvalidParameterValue",
                format!("Invalid storage size for engine name postgres and storage type gp3: {storage}"),
            ));
        }
        Ok(Self {
            class: query.required("DBInstanceClass")?.to_owned(),
            major: major.ok_or_else(|| unknown_version(version))?,
            storage_gib: storage.to_owned(),
            master: query.required("MasterUsername")?.to_owned(),
            password: password(query)?,
            database: query.text("DBName").filter(|name| !name.is_empty()).map(str::to_owned),
            protected: query.flag("DeletionProtection"),
            name,
        })
    }
}

/// As RDS names it when it does not offer a version.
pub(super) fn unknown_version(version: &str) -> Refusal {
    Refusal::new("InvalidParameterCombination", format!("Cannot find version {version} for postgres"))
}

fn password(query: &Query) -> Result<Option<String>, Refusal> {
    match (query.flag("ManageMasterUserPassword"), query.text("MasterUserPassword")) {
        (true, None) => Ok(None),
        (false, Some(password)) if password.len() >= 8 => Ok(Some(password.to_owned())),
        (false, Some(_)) => Err(Refusal::new(
            "InvalidParameterValue",
            "The parameter MasterUserPassword is not a valid password because it is shorter than 8 characters.",
        )),
        (true, Some(_)) => Err(Refusal::new(
            "InvalidParameterCombination",
            "You can't specify MasterUserPassword for an instance with ManageMasterUserPassword enabled.",
        )),
        (false, None) => Err(Refusal::new(
            "InvalidParameterValue",
            "The parameter MasterUserPassword must be provided and must not be blank.",
        )),
    }
}

/// 1 to 63 letters, digits and hyphens; a letter first, no hyphen last, no two in a row.
/// Source: CreateDBInstance in the RDS API reference, read 2026-11-21.
fn check_name(name: &str) -> Result<(), Refusal> {
    let characters = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let shape =
        name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-') && !name.contains("--");
    if characters && shape && name.len() <= 63 {
        return Ok(());
    }
    Err(Refusal::new(
        "InvalidParameterValue",
        "The parameter DBInstanceIdentifier is not a valid identifier.",
    ))
}

/// An instance of this class is never ready: it stays in `modifying`, in which RDS deletes it when asked.
pub(super) const NEVER_READY: &str = "db.never.ready";

/// How far an instance is.
pub(super) enum Status {
    Creating,
    Modifying,
    Available,
    Deleting,
    Failed,
}

impl Status {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Modifying => "modifying",
            Self::Available => "available",
            Self::Deleting => "deleting",
            Self::Failed => "failed",
        }
    }
}

/// One instance.
pub(super) struct Instance {
    pub(super) wanted: Wanted,
    pub(super) status: Status,
    pub(super) tags: Vec<(String, String)>,
    pub(super) version: String,
    pub(super) cluster: Option<Cluster>,
    pub(super) secret_arn: Option<String>,
}

impl Instance {
    pub(super) fn arn(name: &str) -> String {
        format!("{ARN_PREFIX}{name}")
    }

    /// `<DBInstance>` as RDS shows it; there is no endpoint before the instance is available.
    pub(super) fn describe(&self) -> String {
        let wanted = &self.wanted;
        let mut xml = [
            ("DBInstanceIdentifier", wanted.name.as_str()),
            ("DBInstanceClass", &wanted.class),
            ("Engine", "postgres"),
            ("EngineVersion", &self.version),
            ("DBInstanceStatus", self.status.name()),
            ("MasterUsername", &wanted.master),
            ("AllocatedStorage", &wanted.storage_gib),
            ("DBInstanceArn", &Self::arn(&wanted.name)),
            ("DeletionProtection", if wanted.protected { "true" } else { "false" }),
        ]
        .iter()
        .map(|(name, text)| element(name, text))
        .collect::<String>();
        if let Some(database) = &wanted.database {
            xml += &element("DBName", database);
        }
        if let (Status::Available | Status::Deleting, Some(cluster)) = (&self.status, &self.cluster) {
            let port = element("Port", &cluster.port().to_string());
            xml += &format!("<Endpoint>{}{port}</Endpoint>", element("Address", "127.0.0.1"));
        }
        if let Some(arn) = &self.secret_arn {
            let status = element("SecretStatus", "active");
            xml += &format!("<MasterUserSecret>{}{status}</MasterUserSecret>", element("SecretArn", arn));
        }
        format!("<DBInstance>{xml}{}</DBInstance>", tag_list(&self.tags))
    }
}
