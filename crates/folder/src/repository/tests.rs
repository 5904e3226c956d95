use super::*;
use keepsake_testkit::repository_suite::RepositoryBench;
use std::fs;

/// Keeps its folders until it is dropped.
struct Bench {
    top: tempfile::TempDir,
    placing: Placing,
}

fn bench(placing: Placing) -> Bench {
    Bench { top: tempfile::tempdir().expect("folder"), placing }
}

#[async_trait]
impl RepositoryBench for Bench {
    async fn empty(&self) -> Arc<dyn Repository> {
        let folder = self.top.path().join(uuid::Uuid::now_v7().to_string());
        fs::create_dir(&folder).expect("folder");
        Arc::new(FolderRepository::with(folder, self.placing).expect("open"))
    }

    async fn missing(&self) -> Arc<dyn Repository> {
        let folder = self.top.path().join("unmounted");
        fs::create_dir(&folder).expect("folder");
        let repository = FolderRepository::with(folder.clone(), self.placing).expect("open");
        fs::remove_dir(folder).expect("gone");
        Arc::new(repository)
    }

    async fn abandon(&self, repository: &dyn Repository, key: &str) {
        let url = repository.url();
        let path = Path::new(url.strip_prefix("file://").expect("a folder"))
            .join(UNFINISHED)
            .join(format!("{key}.left"));
        fs::create_dir_all(path.parent().expect("below")).expect("folder");
        fs::write(path, b"half").expect("left behind");
    }

    fn copies_by_itself(&self) -> bool {
        false
    }
}

mod by_link {
    keepsake_testkit::repository_suite!(super::bench(super::Placing::Link));
}

mod by_rename {
    keepsake_testkit::repository_suite!(super::bench(super::Placing::RenameUnderLock));
}

#[test]
fn only_an_existing_folder_opens() {
    let top = tempfile::tempdir().expect("folder");
    let file = top.path().join("file");
    fs::write(&file, b"x").expect("write");
    for absent in [top.path().join("nothing"), file] {
        let refused = FolderRepository::open(&absent).map(|_| ());
        assert!(matches!(refused, Err(RepositoryError::Missing { .. })), "{refused:?}");
    }
    let url = format!("file://{}", top.path().display());
    assert_eq!(FolderRepository::from_url(&url).expect("open").url(), url);
    for wrong in ["file://relative", "/backups", "s3://bucket", "file:"] {
        let refused = FolderRepository::from_url(wrong).map(|_| ());
        assert!(matches!(refused, Err(RepositoryError::Refused { .. })), "{wrong}: {refused:?}");
    }
}

#[tokio::test]
async fn a_key_that_is_a_folder_is_refused_and_no_conflict() {
    let top = tempfile::tempdir().expect("folder");
    let repository = FolderRepository::open(top.path()).expect("open");
    repository.put_new("a/b", Bytes::from_static(b"x")).await.expect("put");
    for key in ["a", "a/b/c"] {
        let refused = repository.put_new(key, Bytes::from_static(b"y")).await;
        assert!(matches!(refused, Err(RepositoryError::Refused { .. })), "{key}: {refused:?}");
    }
    assert_eq!(repository.list("").await.expect("list").len(), 1);
}

/// Whoever moved it away, or the disk that held it, took the repository away: an empty one in its place would be believed.
#[tokio::test]
async fn a_folder_that_goes_away_while_an_object_is_written_is_missing_and_not_made_again() {
    for placing in [Placing::Link, Placing::RenameUnderLock] {
        let top = tempfile::tempdir().expect("folder");
        let folder = top.path().join("repository");
        fs::create_dir(&folder).expect("folder");
        let repository = FolderRepository::with(folder.clone(), placing).expect("open");
        let (to, chunks) = keepsake_steps::ports::chunks();
        let writes = repository.upload("a/b", chunks);
        let goes = async {
            for _ in 0..2 {
                // The second one is taken when the first one was, so the file stands.
                to.send(Chunk::Data(Bytes::from_static(b"x"))).await.expect("taken");
            }
            fs::rename(&folder, top.path().join("elsewhere")).expect("moved");
            to.send(Chunk::End).await.expect("taken");
        };
        let (written, ()) = tokio::join!(writes, goes);
        assert!(matches!(written, Err(RepositoryError::Missing { .. })), "{written:?}");
        let refused = repository.put_new("c", Bytes::from_static(b"x")).await;
        assert!(matches!(refused, Err(RepositoryError::Missing { .. })), "{refused:?}");
        assert!(!folder.exists(), "{placing:?}");
    }
}

/// A small file system of its own, where this machine lets us mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("folder");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "keepsake-test"]).arg(folder.path());
        let is_mounted = mount.output().is_ok_and(|done| done.status.success());
        is_mounted.then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).output();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_leaves_nothing_and_is_no_obstacle_once_there_is_room() {
    // Only root may mount; the mapping itself is tested for everyone (see `errors` and `unfinished`).
    let Some(disk) = SmallDisk::mount() else { return };
    let repository = FolderRepository::open(disk.0.path()).expect("open");
    let (to, from) = keepsake_steps::ports::chunks();
    let sender = async {
        let _ = to.send(Chunk::Data(Bytes::from(vec![7; 2 << 20]))).await;
        let _ = to.send(Chunk::End).await;
    };
    let (refused, ()) = tokio::join!(repository.upload("a", from), sender);
    assert!(matches!(refused, Err(RepositoryError::Full { .. })), "{refused:?}");
    assert_eq!(repository.head("a").await.expect("head"), None);
    repository.put_new("a", Bytes::from(vec![7; 500_000])).await.expect("there is room for less");
    assert_eq!(repository.list("").await.expect("list")[0].size_bytes, 500_000);
}
