package benchmark

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"golang.org/x/sys/unix"

	"github.com/handover-dev/handover/internal/ledger"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/realparts"
)

// bootstraps compiles the functions of the product and the programs beside them, all in one way: the Makefile's.
func bootstraps(t testing.TB) func(name string) (path string) {
	t.Helper()
	return compile(t, "-s -w -buildid=")
}

// compile is bootstraps with other flags for the linker.
func compile(t testing.TB, flags string) func(name string) (path string) {
	t.Helper()
	folder := t.TempDir()
	build := func(name, source string) {
		command := exec.Command("go", "build", "-tags", "lambda.norpc", "-trimpath", "-buildvcs=false", "-ldflags", flags,
			"-o", filepath.Join(folder, name, "bootstrap"), source)
		command.Dir = realparts.Root(t)
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", source, err, output)
		}
	}
	functions, err := os.ReadDir(filepath.Join(realparts.Root(t), "functions"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range functions {
		build(f.Name(), "./functions/"+f.Name())
	}
	for _, name := range []string{"plain", "floor", "hello"} {
		build(name, "./internal/benchmark/testdata/cmd/"+name)
	}
	return func(name string) string { return filepath.Join(folder, name, "bootstrap") }
}

// runtimeAPI is Lambda's Runtime API for one function at a time: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type runtimeAPI struct {
	server *httptest.Server
	next   chan struct{} // the function asks for an event
	events chan []byte

	mu      sync.Mutex
	refused string // an answer that is not 200
}

func newRuntimeAPI(t testing.TB) *runtimeAPI {
	a := &runtimeAPI{next: make(chan struct{}, 1), events: make(chan []byte)}
	a.server = httptest.NewServer(a)
	t.Cleanup(a.server.Close)
	return a
}

func (a *runtimeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/next") {
		answer, _ := io.ReadAll(r.Body)
		if !strings.HasSuffix(r.URL.Path, "/response") || !bytes.Contains(answer, []byte(`"statusCode":200`)) {
			a.mu.Lock()
			a.refused = string(answer)
			a.mu.Unlock()
		}
		w.WriteHeader(http.StatusAccepted)
		return
	}
	select {
	case a.next <- struct{}{}:
	default: // of a function that has been killed
	}
	select {
	case event := <-a.events:
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
		w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(10*time.Second).UnixMilli()))
		w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:123456789012:function:webhook")
		w.Header().Set("Content-Length", fmt.Sprint(len(event)))
		_, _ = w.Write(event)
	case <-r.Context().Done():
	}
}

// function is a bootstrap that runs.
type function struct {
	t       testing.TB
	api     *runtimeAPI
	process *os.Process
	ended   <-chan struct{}
	init    time.Duration // from its start until it asked for the first event
}

func start(t testing.TB, api *runtimeAPI, path string, environment []string) *function {
	t.Helper()
	command := exec.Command(path)
	command.Env = append(environment, "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(api.server.URL, "http://"))
	f := &function{t: t, api: api}
	begin := time.Now()
	f.ended = realparts.Start(t, command)
	f.process = command.Process
	f.wait()
	f.init = time.Since(begin)
	return f
}

// wait waits until the function asks for an event.
func (f *function) wait() {
	f.t.Helper()
	select {
	case <-f.api.next:
	case <-f.ended:
		f.t.Fatal("the function has ended by itself")
	case <-time.After(30 * time.Second):
		f.t.Fatal("the function is stuck")
	}
}

func (f *function) invoke(event []byte, times int) {
	f.t.Helper()
	for range times {
		f.api.events <- event
		f.wait()
	}
	f.api.mu.Lock()
	defer f.api.mu.Unlock()
	if f.api.refused != "" {
		f.t.Fatalf("answered %s", f.api.refused)
	}
}

func (f *function) kill() {
	_ = f.process.Kill()
	<-f.ended
}

// processorTime is what the function has used in all.
func (f *function) processorTime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(int32(^f.process.Pid<<3|2), &now); err != nil { // see clock_getcpuclockid(3)
		f.t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// peak is the most memory that the function has had at one time, in bytes.
func (f *function) peak() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.process.Pid))
	if err != nil {
		f.t.Fatal(err)
	}
	var kB int
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(after, &kB); err != nil {
		f.t.Fatal(err)
	}
	return kB << 10
}

const (
	accounts    = "accounts"
	connections = "connections"
)

// environment is that of a function of a stack, with a real DynamoDB engine that knows the user of the data events, and a Secrets Manager.
func environment(t testing.TB) []string {
	t.Helper()
	endpoint := realparts.DynamoDB(t)
	client := dynamodb.NewFromConfig(realparts.AWSConfig(endpoint))
	if err := ledger.CreateTables(t.Context(), client, accounts, connections); err != nil {
		t.Fatal(err)
	}
	user := ownership.Connection{UserID: "4735eac4-31a2-47ef-8b11-51e98d84c680", Provider: "GARMIN", Tenures: []string{"user-81f2"}, Version: 1}
	if _, _, err := ledger.NewDynamoDB(client, accounts, connections).Insert(context.Background(), user); err != nil {
		t.Fatal(err)
	}
	secrets := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, _ := io.ReadAll(r.Body)
		text := `{\"signing_secrets\":[\"` + secret + `\"],\"dev_id\":\"dev\",\"api_key\":\"key\"}`
		if bytes.Contains(request, []byte("account-key")) {
			text = strings.Repeat("0f", 32)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		fmt.Fprintf(w, `{"SecretString":"%s"}`, text)
	}))
	t.Cleanup(secrets.Close)
	return []string{
		"AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_LAMBDA_FUNCTION_NAME=webhook", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=512", "GOMAXPROCS=2", // Lambda's, up to 1,769 MB
		"AWS_ENDPOINT_URL_DYNAMODB=" + endpoint, "AWS_ENDPOINT_URL_SECRETS_MANAGER=" + secrets.URL, "AWS_ENDPOINT_URL_SNS=http://127.0.0.1:1",
		"ACCOUNTS_TABLE=" + accounts, "CONNECTIONS_TABLE=" + connections, "TRANSFERS_TOPIC_ARN=arn:aws:sns:eu-central-1:123456789012:transfers",
		"TERRA_SECRET_ARN=terra", "ACCOUNT_KEY_SECRET_ARN=account-key", "SIGNING_SECRET=" + secret,
	}
}

// BenchmarkProcess is a data event as in BenchmarkEvent, as the compiled function takes it from Lambda: what the Lambda library does counts. The peak's growth is
// over what small events take.
func BenchmarkProcess(b *testing.B) {
	path, environment := bootstraps(b), environment(b)
	small := gatewayEvent(b, dataEvent(700, first), false)
	for _, size := range sizes() {
		for _, user := range []position{first, last} {
			for _, body := range []string{"text", "base64"} {
				b.Run("size="+size.name+"/user="+string(user)+"/body="+body, func(b *testing.B) {
					event := gatewayEvent(b, dataEvent(size.size, user), body == "base64")
					n := max(2, min(100, 8<<20/len(event)))
					var programs []program
					for _, name := range []string{"plain", "webhook", "floor"} {
						f := start(b, newRuntimeAPI(b), path(name), environment)
						f.invoke(small, 20)
						before := f.peak()
						programs = append(programs, program{by(name), func() figures {
							used := f.processorTime()
							f.invoke(event, n)
							used = f.processorTime() - used
							return figures{"cpu-ns/event": float64(used.Nanoseconds()) / float64(n), "peak-growth-B": float64(f.peak() - before)}
						}})
					}
					inTurn(b, 10, programs...)
				})
			}
		}
	}
}

// BenchmarkAuth is an auth webhook, from the event to the answer, with a DynamoDB engine, an SNS and a Terra on this machine: of a new connection, the same again,
// and of another user's who takes the account over. Plain asks Terra, reads the owner's row, writes it under a condition, and publishes a change.
func BenchmarkAuth(b *testing.B) {
	path, environment := bootstraps(b), environment(b)
	holders := map[string]string{"1": "anna", "2": "ben"} // reference_ids, by the end of the user_id
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := r.URL.Query().Get("user_id")
		account, number, _ := strings.Cut(user, "/")
		fmt.Fprintf(w, `{"status":"success","athlete":{"provider_user_id":%q},"user":{"user_id":%q,"provider":"GARMIN","reference_id":%q}}`,
			account, user, holders[number])
	}))
	b.Cleanup(api.Close)
	topics := realparts.Moto(b)
	topic, err := sns.NewFromConfig(realparts.AWSConfig(topics)).CreateTopic(b.Context(), &sns.CreateTopicInput{Name: aws.String("transfers")})
	if err != nil {
		b.Fatal(err)
	}
	environment = append(environment, "TERRA_API_URL="+api.URL, "AWS_ENDPOINT_URL_SNS="+topics, "TRANSFERS_TOPIC_ARN="+*topic.TopicArn, "AWS_REGION=us-east-1")
	auth := func(account, number string, second int) []byte {
		at := time.Unix(1_700_000_000+int64(second), 0).UTC().Format(time.RFC3339)
		return gatewayEvent(b, fmt.Appendf(nil, `{"type":"auth","status":"success","user":{"user_id":%q,"provider":"GARMIN","reference_id":%q,"created_at":%q}}`,
			account+"/"+number, holders[number], at), false)
	}
	kinds := map[string]func(account string) (before, measured []byte){
		"new": func(account string) (_, _ []byte) {
			return auth("other-"+account, "1", 0), auth(account, "1", 0)
		},
		"again": func(account string) (_, _ []byte) {
			return auth(account, "1", 0), auth(account, "1", 0)
		},
		"change": func(account string) (_, _ []byte) { return auth(account, "1", 0), auth(account, "2", 9) },
	}
	for _, kind := range []string{"new", "again", "change"} {
		b.Run("auth="+kind, func(b *testing.B) {
			var programs []program
			for _, name := range []string{"plain", "webhook"} {
				f, n := start(b, newRuntimeAPI(b), path(name), environment), 0
				programs = append(programs, program{by(name), func() figures {
					n++
					before, measured := kinds[kind](fmt.Sprint(kind, name, n))
					f.invoke(before, 1)
					used, begin := f.processorTime(), time.Now()
					f.invoke(measured, 1)
					return figures{"ns/event": float64(time.Since(begin).Nanoseconds()), "cpu-ns/event": float64((f.processorTime() - used).Nanoseconds())}
				}})
			}
			inTurn(b, 100, programs...)
		})
	}
}

// by is the end of the name of a benchmark of a program.
func by(name string) string {
	if name == "webhook" {
		name = "handover"
	}
	return "by=" + name
}

// BenchmarkInit is the time from a function's start until it asks for its first event. Handover has read two secrets then and compared the account key with
// the ledger's; hello has made the same clients; hello-fetch has also read one secret.
func BenchmarkInit(b *testing.B) {
	path, environment, api := bootstraps(b), environment(b), newRuntimeAPI(b)
	var programs []program
	for _, name := range []string{"hello", "hello-fetch", "webhook", "sweep", "revoke"} {
		path, environment := path(strings.TrimSuffix(name, "-fetch")), environment
		if name == "hello-fetch" {
			environment = append(environment[:len(environment):len(environment)], "FETCH=true")
		}
		programs = append(programs, program{by(name), func() figures {
			f := start(b, api, path, environment)
			defer f.kill()
			return figures{"ns/init": float64(f.init.Nanoseconds()), "cpu-ns/init": float64(f.processorTime().Nanoseconds())}
		}})
	}
	inTurn(b, 40, programs...)
}

// BenchmarkSize is the size of each function, as a file and as the zip that is deployed.
func BenchmarkSize(b *testing.B) {
	path := bootstraps(b)
	for _, name := range []string{"hello", "webhook", "sweep", "revoke"} {
		b.Run(by(name), func(b *testing.B) {
			var zipped bytes.Buffer
			file, err := os.ReadFile(path(name))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				zipped.Reset()
				archive := zip.NewWriter(&zipped)
				entry, err := archive.Create("bootstrap")
				if err != nil {
					b.Fatal(err)
				}
				if _, err := entry.Write(file); err != nil {
					b.Fatal(err)
				}
				if err := archive.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(file)), "binary-B")
			b.ReportMetric(float64(zipped.Len()), "zip-B")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkModule is what each module adds to a function: its code and data, by the symbols that carry its name.
func BenchmarkModule(b *testing.B) {
	path := compile(b, "") // with the symbols
	for _, name := range []string{"hello", "webhook", "sweep", "revoke"} {
		built, err := buildinfo.ReadFile(path(name))
		if err != nil {
			b.Fatal(err)
		}
		modules := []string{built.Main.Path}
		for _, dependency := range built.Deps {
			modules = append(modules, dependency.Path)
		}
		file, err := elf.Open(path(name))
		if err != nil {
			b.Fatal(err)
		}
		symbols, err := file.Symbols()
		if err != nil {
			b.Fatal(err)
		}
		sizes := map[string]uint64{}
		for _, symbol := range symbols {
			if int(symbol.Section) >= len(file.Sections) || file.Sections[symbol.Section].Type == elf.SHT_NOBITS { // not in the file
				continue
			}
			of := "" // the longest of the modules' paths, for one may begin with another
			for _, module := range modules {
				if len(module) > len(of) && strings.Contains(symbol.Name, module) {
					of = module
				}
			}
			sizes[cmp.Or(of, "standard-library")] += symbol.Size
		}
		for _, module := range slices.Sorted(maps.Keys(sizes)) {
			b.Run("module="+strings.ReplaceAll(module, "/", "|")+"/"+by(name), func(b *testing.B) {
				b.ReportMetric(float64(sizes[module]), "B")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
