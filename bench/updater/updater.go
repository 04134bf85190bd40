// Package updater makes apps that run the real Java of Capgo's plugin, as published on npm, so that tests and
// benchmarks meet the code that devices run and not our idea of it.
//
// The life of one call: [Compile] downloads the plugin and the one class of Capacitor that it needs with npm, and the
// brotli decoder with Go, writes them beside the small stand-ins for Android in this folder (*.txtar), and compiles all
// of it with javac. The caller then starts com.getcapacitor.Driver, which reads commands and reports events, one JSON
// object a line.
//
// The invariant: the plugin's own code is unchanged, except where Java 17 reads it differently from Java 21. None of it
// is in this repository, because it has another licence. Such an app is not Android: it lacks Android's rules for
// background work and for plain HTTP, and uses OkHttp 3 instead of the app's own OkHttp 4.
package updater

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// capacitor is the version of @capacitor/android, of which one class is needed.
	capacitor = "8.5.2"
	// brotli has the decoder in Java that the plugin uses, next after the release that it asks Maven for (0.1.2).
	brotli = "github.com/google/brotli@v1.0.4"
)

// Main is the class that stands for the app around the plugin. It reads the system properties device (a folder), app,
// native (a version) and config (JSON, what Capacitor would read from its configuration).
const Main = "com.getcapacitor.Driver"

//go:embed *.txtar
var stubs embed.FS

// Tools returns the programs that have to be there.
func Tools() []string { return []string{"go", "java", "javac", "npm", "tar"} }

// Jars returns the libraries that have to be there, where Debian's packages libokhttp-java, libokio-java and
// libandroid-json-org-java put them.
func Jars() []string {
	return []string{"/usr/share/java/okhttp.jar", "/usr/share/java/okio.jar", "/usr/share/java/json-android.jar"}
}

// Compile compiles a version of the plugin in dir, which must be empty, and returns the class path to run [Main] with.
func Compile(ctx context.Context, dir, version string) (classPath string, err error) {
	theirPlugin, err := Fetch(ctx, "@capgo/capacitor-updater", version)
	if err != nil {
		return "", err
	}
	android, err := Fetch(ctx, "@capacitor/android", capacitor)
	if err != nil {
		return "", err
	}
	var files []string
	add := func(name string, text []byte) error {
		path := filepath.Join(dir, filepath.FromSlash(name))
		files = append(files, path)
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o600))
	}
	const home = "ee/forgr/capacitor_updater/"
	leftOut := map[string]bool{"ShakeDetector.java": true, "ThreeFingerPinchDetector.java": true}
	ours, err := stubs.ReadDir(".")
	if err != nil {
		return "", err
	}
	for _, stub := range ours {
		text, err := stubs.ReadFile(stub.Name())
		if err != nil {
			return "", err
		}
		for _, part := range strings.Split("\n"+string(text), "\n-- ")[1:] {
			name, body, _ := strings.Cut(part, " --\n")
			leftOut[strings.TrimPrefix(name, home)] = true
			if err := add(name, []byte(body+"\n")); err != nil {
				return "", err
			}
		}
	}
	theirs, err := filepath.Glob(filepath.Join(theirPlugin, "android/src/main/java", home, "*.java"))
	if err != nil {
		return "", err
	}
	for _, path := range theirs {
		name := filepath.Base(path)
		if leftOut[name] {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		// Java 21 takes the full name of a constant behind "case", Java 17 does not.
		if err := add(home+name, bytes.ReplaceAll(text, []byte("case DelayUntilNext."), []byte("case "))); err != nil {
			return "", err
		}
	}
	decoder, err := decoderOfBrotli(ctx)
	if err != nil {
		return "", err
	}
	files = append(files, decoder...)
	const object = "com/getcapacitor/JSObject.java"
	text, err := os.ReadFile(filepath.Join(android, "capacitor/src/main/java", object))
	if err != nil {
		return "", err
	}
	if err := add(object, text); err != nil {
		return "", err
	}
	classes, jars := filepath.Join(dir, "classes"), strings.Join(Jars(), ":")
	cmd := exec.CommandContext(ctx, "javac", append([]string{"-nowarn", "-d", classes, "-cp", jars}, files...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the plugin %s does not compile: %w\n%.8000s", version, err, out)
	}
	return classes + ":" + jars, nil
}

// decoderOfBrotli returns the Java files of the decoder, which are in Go's cache of modules, because the tests have
// modules at hand and no Maven.
func decoderOfBrotli(ctx context.Context) (files []string, err error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", brotli)
	cmd.Dir = os.TempDir() // in no module, so that none is changed
	out, err := cmd.Output()
	var module struct{ Dir, Error string }
	if wrong := json.Unmarshal(out, &module); wrong != nil || module.Error != "" {
		return nil, fmt.Errorf("%v: %s%w", cmd, module.Error, errors.Join(err, wrong))
	}
	files, err = filepath.Glob(filepath.Join(module.Dir, "java/org/brotli/dec/*.java"))
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "Test.java") })
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s has no decoder in Java", brotli)
	}
	return files, err
}

// Fetch returns the folder of a package of npm, to be read only. It is fetched once per machine, into the user's cache.
func Fetch(ctx context.Context, name, version string) (folder string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, "brink-e2e")
	dir := filepath.Join(cache, strings.NewReplacer("@", "", "/", "-").Replace(name)+"-"+version)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(cache, "npm-*")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	cmd := exec.CommandContext(ctx, "npm", "pack", "--silent", "--pack-destination", fresh, name+"@"+version)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm pack %s@%s: %w\n%s", name, version, err, out)
	}
	packed, err := filepath.Glob(filepath.Join(fresh, "*.tgz"))
	if err != nil || len(packed) != 1 {
		return "", fmt.Errorf("npm pack %s@%s left %d files", name, version, len(packed))
	}
	unpacked := filepath.Join(fresh, "unpacked")
	if err := os.Mkdir(unpacked, 0o755); err != nil {
		return "", err
	}
	cmd = exec.CommandContext(ctx, "tar", "-xzf", packed[0], "-C", unpacked, "--strip-components=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	if err := os.Rename(unpacked, dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			return "", err
		} // else somebody else was quicker
	}
	return dir, nil
}
