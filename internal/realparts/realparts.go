// Package realparts starts, for a test, the real programs that stand in for AWS: a DynamoDB engine, the queue and topic services, and
// AWS's own Lambda Runtime Interface Emulator.
//
// "make tools" installs them under .tools. Where one is absent the test is skipped, except with CI=true, where it fails: a green run of the
// continuous integration has run everything.
package realparts

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// DynamoDB starts an empty DynamoDB engine, Dynoxide, that keeps its tables in memory, and returns its URL. It ends with the test.
func DynamoDB(t testing.TB) (endpoint string) {
	t.Helper()
	address := FreeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	start(t, address, program(t, "Dynoxide", "node_modules/@dynoxide/linux-x64/dynoxide"), "serve", "--port", port)
	return "http://" + address
}

// Moto starts an empty moto server (SNS, SQS, Secrets Manager; its DynamoDB is not good enough) and returns its URL. It ends with the test.
// It takes some seconds: share it between the tests of a package.
func Moto(t testing.TB) (endpoint string) {
	t.Helper()
	address := FreeAddress(t)
	host, port, _ := net.SplitHostPort(address)
	start(t, address, program(t, "moto", "venv-moto/bin/moto_server"), "-H", host, "-p", port)
	return "http://" + address
}

// RIE returns the path of AWS's Lambda Runtime Interface Emulator. It is started as
//
//	aws-lambda-rie --runtime-interface-emulator-address HOST:PORT --runtime-api-address HOST:PORT ./bootstrap
//
// with AWS_LAMBDA_FUNCTION_NAME set, and takes an event by POST at /2015-03-31/functions/function/invocations.
func RIE(t testing.TB) (path string) {
	t.Helper()
	return program(t, "the Lambda Runtime Interface Emulator", "bin/aws-lambda-rie")
}

// Subscriber returns the command that runs the example subscriber of that folder of internal/subscribers: go, node or python. It compiles what has to be.
func Subscriber(t testing.TB, folder string) (command []string) {
	t.Helper()
	path := filepath.Join(Root(t), "internal", "subscribers", folder)
	compile := func(command ...string) {
		build := exec.Command(command[0], command[1:]...)
		build.Dir = path
		if output, err := build.CombinedOutput(); err != nil {
			t.Fatalf("compiling the %s subscriber: %v\n%s", folder, err, output)
		}
	}
	switch folder {
	case "node":
		compiler := program(t, "the Node.js subscriber", "../internal/subscribers/node/node_modules/typescript/bin/tsc")
		compile("node", compiler)
		return []string{"node", filepath.Join(path, "dist", "main.js")}
	case "python":
		return []string{program(t, "the Python subscriber", "venv-subscriber/bin/python"), filepath.Join(path, "main.py")}
	}
	binary := filepath.Join(t.TempDir(), "subscriber")
	compile("go", "build", "-o", binary, ".")
	return []string{binary}
}

// AWSCLI returns the folder of the AWS CLI. It is version 1: version 2 is not on PyPI. The commands that are tried with it are the same in both.
func AWSCLI(t testing.TB) (folder string) {
	t.Helper()
	return filepath.Dir(program(t, "the AWS CLI", "venv-aws/bin/aws"))
}

// AsyncAPI returns the command that judges an AsyncAPI document, whose path is to be added.
func AsyncAPI(t testing.TB) (command []string) {
	t.Helper()
	program(t, "AsyncAPI's parser", "node_modules/@asyncapi/parser/package.json")
	return []string{"node", filepath.Join(Root(t), ".tools", "asyncapi.mjs")}
}

// Chromium returns the path of a Chromium or Chrome browser.
func Chromium(t testing.TB) (path string) {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	absent(t, "Chromium", "install Debian's package chromium, say")
	return ""
}

// SAM returns the path of a Python that has SAM's own transform, samtranslator.
func SAM(t testing.TB) (path string) {
	t.Helper()
	return program(t, "SAM's transform", "venv-cfn-lint/bin/python")
}

// Make returns the path of make.
func Make(t testing.TB) (path string) {
	t.Helper()
	path, err := exec.LookPath("make")
	if err != nil {
		absent(t, "make", "install the package of this name")
	}
	return path
}

// AWSConfig is a configuration that sends every call to endpoint, with invented credentials and the SDK's default retries.
func AWSConfig(endpoint string) aws.Config {
	return aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(endpoint),
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
	}
}

// FreeAddress returns an address (host:port) of this machine on which nothing listens. Its port is none of those that the system gives away by itself: nobody
// takes it before it is used, and a program that is killed finds it free when it starts again.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(15000))
		if listener, err := net.Listen("tcp", address); err == nil {
			listener.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// Root returns the repository's top folder: the nearest one above the test's that has a go.mod.
func Root(t testing.TB) string {
	t.Helper()
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder
		}
		if folder == filepath.Dir(folder) {
			t.Fatal("no go.mod in any folder above the test's")
		}
		folder = filepath.Dir(folder)
	}
}

// Start runs command until the test ends, or at the latest until the test's process does, however that ends. Output is logged if the test fails, unless the
// command has a Stdout of its own.
// The returned channel is closed when the command has ended.
func Start(t testing.TB, command *exec.Cmd) (ended <-chan struct{}) {
	t.Helper()
	var output bytes.Buffer
	if command.Stdout == nil {
		command.Stdout, command.Stderr = &output, &output
	}
	command.SysProcAttr = dieWithParent()

	started, done := make(chan error), make(chan struct{})
	go func() {
		// Linux kills the child when the thread that started it ends, so that thread must stay until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait() // it is killed at the end
		}
		close(done)
	}()
	if err := <-started; err != nil {
		t.Fatalf("starting %s: %v", command.Path, err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill() // it may have ended by itself
		<-done
		if t.Failed() && output.Len() > 0 {
			t.Logf("output of %s:\n%s", filepath.Base(command.Path), output.Bytes())
		}
	})
	return done
}

// WaitUntilListening returns when something listens at address, and fails the test if the program that should do so has ended or takes
// longer than 30 seconds.
func WaitUntilListening(t testing.TB, address string, ended <-chan struct{}) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		connection, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			connection.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("nothing listens at %s: the program has ended", address)
		case <-timeout:
			t.Fatalf("nothing listens at %s after 30 s: %v", address, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func start(t testing.TB, address, path string, arguments ...string) {
	t.Helper()
	WaitUntilListening(t, address, Start(t, exec.Command(path, arguments...)))
}

// program returns the path of an installed part, and skips the test where it is not installed.
func program(t testing.TB, name, path string) string {
	t.Helper()
	path = filepath.Join(Root(t), ".tools", path)
	if _, err := os.Stat(path); err != nil {
		absent(t, name, "run `make tools`")
	}
	return path
}

// absent skips the test because a part is absent; with CI=true it fails it.
func absent(t testing.TB, name, remedy string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed: %s", name, remedy)
	}
	t.Skipf("%s is not installed: %s", name, remedy)
}
