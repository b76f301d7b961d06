package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/handover-dev/handover/internal/realparts"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"handover": main})
}

// TestScripts runs the real tool, story by story: see testdata/script. Each has addresses of its own in $ADDR and $ADDR2, and "listening ADDRESS" waits for the
// program there. At $OTHER is something else, which says 200 and nothing more, but at /moved redirects there.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("ADDR", realparts.FreeAddress(t))
			env.Setenv("ADDR2", realparts.FreeAddress(t))
			env.Setenv("URL", "http://"+env.Getenv("ADDR"))
			other := http.NewServeMux()
			other.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
			other.Handle("/moved", http.RedirectHandler("/", http.StatusFound))
			server := httptest.NewServer(other)
			env.Defer(server.Close)
			env.Setenv("OTHER", server.URL)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"listening": func(s *testscript.TestScript, _ bool, args []string) {
				for range 600 {
					if answer, err := http.Get("http://" + args[0] + "/healthz"); err == nil {
						answer.Body.Close()
						return
					}
					time.Sleep(50 * time.Millisecond)
				}
				s.Fatalf("no program answers at %s", args[0])
			},
			// status CODE COMMAND… runs a command, and fails if it ends with another exit code.
			"status": func(s *testscript.TestScript, _ bool, args []string) {
				err := s.Exec(args[1], args[2:]...)
				got := "0"
				if err != nil {
					got = strings.TrimPrefix(err.Error(), "exit status ")
				}
				if got != args[0] {
					s.Fatalf("%s ended with %s, want %s", strings.Join(args[1:], " "), got, args[0])
				}
			},
		},
	})
}
