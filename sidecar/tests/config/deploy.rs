//! The manifests, the unit and the image: they are files nobody compiles, so what they say is tried here.

use saphyr::{LoadableYamlNode as _, Yaml};
use tollgate_sidecar::config::{Overrides, read};

use crate::check::File;
use crate::cli::{stderr, stdout, tollgate};

fn file(name: &str) -> String {
    let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands at this path, as `spec.template.spec.initContainers.0.args`.
fn at<'a, 'i>(yaml: &'a Yaml<'i>, path: &str) -> &'a Yaml<'i> {
    path.split('.').fold(yaml, |yaml, key| match key.parse::<usize>() {
        Ok(index) => &yaml.as_sequence().unwrap_or_else(|| panic!("{path}: no list at {key}"))[index],
        Err(_) => yaml.as_mapping_get(key).unwrap_or_else(|| panic!("{path}: no {key}")),
    })
}

fn text(yaml: &Yaml<'_>, path: &str) -> String {
    at(yaml, path).as_str().unwrap_or_else(|| panic!("{path} is no text")).to_owned()
}

#[test]
fn the_pod_does_what_its_configuration_says() {
    let configmap = file("kubernetes/configmap.yaml");
    let configmap = Yaml::load_from_str(&configmap).unwrap().remove(0);
    let toml = at(&configmap, "data").as_mapping_get("tollgate.toml").and_then(Yaml::as_str).expect("the file");
    let config =
        read("tollgate.toml", toml.as_bytes(), &Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
    let deployment = file("kubernetes/deployment.yaml");
    let documents = Yaml::load_from_str(&deployment).unwrap();
    let pod = at(&documents[0], "spec.template.spec");
    // The arguments are some, and start what the probes and the Service ask.
    let words: Vec<String> = at(pod, "initContainers.0.args")
        .as_sequence()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect();
    let copy = File::new("tollgate.toml", toml);
    let words: Vec<&str> = words
        .iter()
        .map(|word| if word.ends_with(".toml") { copy.path() } else { word })
        .chain(["--print-config"])
        .collect();
    let output = tollgate(&words);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let ports = |at_: usize| at(pod, &format!("initContainers.0.ports.{at_}.containerPort")).as_integer().unwrap();
    assert_eq!(ports(0), i64::from(config.listen.port()));
    assert_eq!(ports(1), i64::from(config.metrics.unwrap().port()));
    assert_eq!(text(&documents[1], "spec.ports.0.targetPort"), "http");
    assert_eq!(text(pod, "initContainers.0.restartPolicy"), "Always");
    assert_eq!(
        at(pod, "containers.0.ports.0.containerPort").as_integer(),
        config.upstreams.iter().next().unwrap().authority.port_u16().map(i64::from)
    );
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(text(pod, &format!("initContainers.0.{probe}.httpGet.port")), "metrics");
    }
    // The same limit as the article's.
    let article = read("article.toml", file("examples/article.toml").as_bytes(), &Overrides::default()).unwrap();
    assert_eq!(config.limits[0].policy, article.limits[0].policy);
    assert_eq!(config.denied, article.denied);
    let grace = at(pod, "terminationGracePeriodSeconds").as_integer().unwrap();
    assert!(grace as u64 > config.deadlines.drain.as_secs(), "the kubelet waits for the drain");
}

#[test]
fn the_unit_starts_what_there_is() {
    let unit = file("systemd/tollgate.service");
    let get = |key: &str| {
        unit.lines().find_map(|line| line.strip_prefix(&format!("{key}="))).unwrap_or_else(|| panic!("no {key}"))
    };
    let copy = File::new("tollgate.toml", &file("examples/article.toml"));
    for (key, more) in [("ExecStartPre", None), ("ExecStart", Some("--print-config"))] {
        let words: Vec<&str> = get(key)
            .split(' ')
            .skip(1)
            .map(|word| if word == "/etc/tollgate.toml" { copy.path() } else { word })
            .chain(more)
            .collect();
        let output = tollgate(&words);
        assert_eq!(output.status.code(), Some(0), "{key}: {}", stderr(&output));
        assert!(!stdout(&output).is_empty());
    }
    assert!(get("ExecReload").contains("-HUP"));
    let stop: u64 = get("TimeoutStopSec").parse().unwrap();
    assert!(stop > 10, "longer than the drain");
}

#[test]
fn the_image_is_this_program() {
    let image = file("Dockerfile");
    assert!(image.contains("--package tollgate-sidecar --bin tollgate"));
    assert!(image.contains("ENTRYPOINT [\"/tollgate\"]") && image.contains("USER 65532"));
}

/// Every command in the manual is one, and every file is right.
#[test]
fn the_readme_says_what_works() {
    let readme = file("README.md");
    let mut files = 0;
    for block in readme.split("```toml\n").skip(1) {
        let toml = block.split("```").next().unwrap();
        if toml.contains("listen") {
            files += 1;
            read("README.md", toml.as_bytes(), &Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
        }
    }
    assert!(files >= 2);
    let serve = "tollgate serve --listen 0.0.0.0:5002 --upstream http://localhost:5000 --limit \"29/second\" --key global --denial-header \"x-local-rate-limit: true\"";
    assert!(readme.replace(" \\\n  ", " ").contains(serve));
    let help = stdout(&tollgate(&["serve", "--help"]));
    for flag in readme.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter(|word| word.starts_with("--")) {
        let known = help.contains(flag)
            || [
                "--request",
                "--header",
                "--against",
                "--package",
                "--release",
                "--locked",
                "--path",
                "--bin",
                "--rm",
                "--image",
                "--command",
            ]
            .contains(&flag);
        assert!(known || flag.trim_matches('-').is_empty(), "{flag} is a flag");
    }
}
