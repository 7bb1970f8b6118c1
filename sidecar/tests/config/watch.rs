//! A file that changes under a running proxy.

use tollgate_sidecar::config::{Origin, OriginError, Overrides, Watch};

use crate::check::File;
use crate::examples::example;

#[test]
fn a_changed_file_is_noticed_once_and_a_bad_one_too() {
    let file = File::new("watched.toml", &example("article"));
    let origin = Origin::new(Some(file.path().into()), Overrides::default());
    let (mut watch, config) = Watch::new(origin).unwrap();
    assert_eq!(config.limits[0].name, "all");
    assert!(watch.look().is_none());
    // Written anew with the same contents, it has not changed.
    std::fs::write(file.path(), example("article")).unwrap();
    assert!(watch.look().is_none());
    std::fs::write(file.path(), example("grpc")).unwrap();
    assert_eq!(watch.look().unwrap().unwrap().limits[0].name, "cart");
    assert!(watch.look().is_none());
    std::fs::write(file.path(), "listen = 7").unwrap();
    let OriginError::Bad(error) = watch.look().unwrap().unwrap_err() else { panic!("it can be read") };
    assert!(error.to_string().contains("watched.toml:1:10: \"listen\" is a string"), "{error}");
    assert!(watch.look().is_none(), "it is said once");
    assert!(watch.read_again().is_err(), "and again when it is asked for");
    std::fs::remove_file(file.path()).unwrap();
    assert!(matches!(watch.look(), Some(Err(OriginError::Unreadable(..)))));
    assert!(watch.look().is_none());
    std::fs::write(file.path(), example("article")).unwrap();
    assert_eq!(watch.look().unwrap().unwrap().limits[0].name, "all");
    assert_eq!(watch.read_again().unwrap().limits[0].name, "all", "SIGHUP reads also what has not changed");
}

/// The kubelet exchanges a link to a folder, so that the file itself is never written.
#[cfg(unix)]
#[test]
fn a_configmap_is_noticed() {
    let file = File::new("anchor", "");
    let folder = std::path::Path::new(file.path()).parent().unwrap().join("mount");
    for (version, name) in [("..1", "article"), ("..2", "grpc")] {
        std::fs::create_dir_all(folder.join(version)).unwrap();
        std::fs::write(folder.join(version).join("tollgate.toml"), example(name)).unwrap();
    }
    std::os::unix::fs::symlink("..1", folder.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/tollgate.toml", folder.join("tollgate.toml")).unwrap();
    let origin = Origin::new(Some(folder.join("tollgate.toml")), Overrides::default());
    let (mut watch, _) = Watch::new(origin).unwrap();
    assert!(watch.look().is_none());
    std::os::unix::fs::symlink("..2", folder.join("..new")).unwrap();
    std::fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    assert_eq!(watch.look().unwrap().unwrap().limits[0].name, "cart");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// As certbot and cert-manager do: the files are exchanged one after the other, and no line of the configuration changes.
#[test]
fn a_renewed_certificate_is_noticed_once() {
    let (cert, key) = (File::new("watched-cert.pem", "one"), File::new("watched-key.pem", "one"));
    let toml = format!(
        "listen = \"https://127.0.0.1:8443\"\nupstream = \"http://localhost:5000\"\ntls = {{ cert = {:?}, key = {:?} }}\n",
        cert.path(),
        key.path()
    );
    let file = File::new("watched-tls.toml", &toml);
    let (mut watch, _) = Watch::new(Origin::new(Some(file.path().into()), Overrides::default())).unwrap();
    assert!(watch.look().is_none());
    for renewed in [&cert, &key] {
        std::fs::write(renewed.path(), "two").unwrap();
        assert!(watch.look().unwrap().is_ok());
        assert!(watch.look().is_none());
    }
    // A bad file is said once, and hides no certificate for good.
    std::fs::write(file.path(), "listen = 7").unwrap();
    assert!(watch.look().unwrap().is_err());
    assert!(watch.look().is_none());
    std::fs::remove_file(cert.path()).unwrap();
    assert!(watch.look().unwrap().is_err());
    assert!(watch.look().is_none());
    std::fs::write(file.path(), &toml).unwrap();
    assert!(watch.look().unwrap().is_ok());
    std::fs::write(cert.path(), "three").unwrap();
    assert!(watch.look().unwrap().is_ok());
    assert!(watch.look().is_none());
}

/// Flags beat the file at each reload too.
#[test]
fn what_beats_the_file_beats_it_again() {
    let file = File::new("beaten.toml", &example("article"));
    let mut overrides = Overrides::default();
    overrides.metrics = Some("127.0.0.1:7".parse().unwrap());
    let (mut watch, _) = Watch::new(Origin::new(Some(file.path().into()), overrides)).unwrap();
    std::fs::write(file.path(), format!("metrics = \"0.0.0.0:1\"\n{}", example("grpc"))).unwrap();
    assert_eq!(watch.look().unwrap().unwrap().metrics, Some("127.0.0.1:7".parse().unwrap()));
}

#[test]
fn without_a_file_there_is_nothing_to_watch() {
    let mut overrides = Overrides::default();
    overrides.listen = Some(("127.0.0.1:1".parse().unwrap(), false));
    overrides.upstream = Some("http://localhost:2".parse().unwrap());
    let (mut watch, config) = Watch::new(Origin::new(None, overrides)).unwrap();
    assert!(watch.look().is_none());
    assert_eq!(watch.read_again().unwrap(), config);
}
