//! The manifests, the unit and the image: they are files nobody compiles, so what they say is tried here.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use saphyr::{LoadableYamlNode as _, Yaml};
use tollgate_sidecar::config::{Overrides, read};

use crate::check::File;
use crate::cli::{Running, stderr, stdout, tollgate};

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

/// A port that was free a moment ago.
fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The status of this path at this port, and the rest of the answer. `None`: nobody listens.
fn ask(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some((answer.get(9..12)?.parse().ok()?, answer))
}

/// An application that says hello on this port.
fn application(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        }
    });
}

fn eventually<T>(what: &str, get: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        match get() {
            Some(got) => return got,
            None => assert!(begun.elapsed() < Duration::from_secs(20), "{what}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The container of the manifest as the kubelet runs it: its arguments, its file, its probes, in their order. Only the ports are others.
#[cfg(target_os = "linux")]
#[test]
fn the_pod_runs_and_answers_its_probes() {
    let (configmap, deployment) = (file("kubernetes/configmap.yaml"), file("kubernetes/deployment.yaml"));
    let configmap = Yaml::load_from_str(&configmap).unwrap().remove(0);
    let deployment = Yaml::load_from_str(&deployment).unwrap().remove(0);
    let container = at(&deployment, "spec.template.spec.initContainers.0");
    let toml = at(&configmap, "data").as_mapping_get("tollgate.toml").and_then(Yaml::as_str).unwrap();
    let (clients, metrics, app, admin) = (free(), free(), free(), free());
    let toml = toml
        .replace("0.0.0.0:5002", &format!("127.0.0.1:{clients}"))
        .replace("0.0.0.0:5004", &format!("127.0.0.1:{metrics}"))
        .replace("localhost:5000", &format!("localhost:{app}"));
    let on_disk = File::new("tollgate.toml", &toml);
    let mounted = text(container, "volumeMounts.0.mountPath");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    for word in at(container, "args").as_sequence().unwrap() {
        let word = word.as_str().unwrap();
        let is_file = word.strip_prefix(&*mounted).is_some_and(|name| name == "/tollgate.toml");
        command.arg(if is_file { on_disk.path() } else { word });
    }
    command.env_clear().env("TOLLGATE_ADMIN", format!("127.0.0.1:{admin}")).stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    let probe = |name: &str| {
        assert_eq!(text(container, &format!("{name}.httpGet.port")), text(container, "ports.1.name"));
        ask(metrics, &text(container, &format!("{name}.httpGet.path"))).map(|(status, _)| status)
    };
    // It starts before the application does, so this must not wait for that.
    eventually("it has started", || probe("startupProbe").filter(|status| *status == 200));
    assert_eq!((probe("livenessProbe"), probe("readinessProbe")), (Some(200), Some(503)));
    application(app);
    eventually("it is ready", || probe("readinessProbe").filter(|status| *status == 200));
    let answers: Vec<_> = (0..60).map(|_| ask(clients, "/").unwrap()).collect();
    let denied: Vec<_> = answers.iter().filter(|(status, _)| *status == 429).collect();
    assert!(answers.iter().filter(|(status, _)| *status == 200).count() >= 29 && !denied.is_empty());
    assert!(denied[0].1.contains("\r\nx-local-rate-limit: true\r\n"), "{}", denied[0].1);
    assert!(ask(metrics, "/metrics").unwrap().1.contains("tollgate_requests_total{outcome=\"denied\"}"));
    // What it has takes less than is asked for.
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.0.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim();
    let resident: usize = resident.split(' ').next().unwrap().parse().unwrap();
    let asked: usize = text(container, "resources.requests.memory").strip_suffix("Mi").unwrap().parse().unwrap();
    assert!(resident < asked * 1024, "{resident} KiB of {asked} MiB");
    let killed = Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
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

/// As far as this can be told where nothing builds images.
#[test]
fn the_image_is_this_program() {
    let image = file("Dockerfile");
    let line = |with: &str| {
        let line = image.lines().find(|line| line.starts_with(with));
        line.unwrap_or_else(|| panic!("{with} is in\n{image}"))
    };
    let build: Vec<&str> = line("RUN cargo build ").split(' ').collect();
    let after = |flag: &str| build[build.iter().position(|word| *word == flag).expect(flag) + 1];
    let (package, program, profile) = (after("--package"), after("--bin"), after("--profile"));
    let here = file("Cargo.toml");
    assert!(here.contains(&format!("name = \"{package}\"")) && here.contains(&format!("name = \"{program}\"")));
    assert!(file("../Cargo.toml").contains(&format!("[profile.{profile}]")));
    assert!(line("ENV ").starts_with(&format!("ENV CARGO_PROFILE_{}_", profile.to_ascii_uppercase())));
    // What is built is what is copied and what is started, as a user that the manifest takes for one without rights.
    assert_eq!(line("COPY --from"), format!("COPY --from=build /build/target/{profile}/{program} /{program}"));
    assert_eq!(line("ENTRYPOINT"), format!("ENTRYPOINT [\"/{program}\"]"));
    assert!(line("USER").split([' ', ':']).skip(1).all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)));
    let deployment = file("kubernetes/deployment.yaml");
    for port in line("EXPOSE").split(' ').skip(1) {
        assert!(deployment.contains(&format!("containerPort: {port} ")), "{port}");
    }
    let words: Vec<&str> = line("CMD").split('"').skip(1).step_by(2).collect();
    assert_eq!(tollgate(&words).status.code(), Some(0));
    // The build sees what it needs.
    let ignored = file("../.dockerignore");
    for needed in ["Cargo.lock", "Cargo.toml", "src", "sidecar", "sidecar/src"] {
        assert!(!ignored.lines().any(|line| line.trim_matches('/') == needed), "{needed} is ignored");
    }
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
