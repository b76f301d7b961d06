package local_test

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/handover-dev/handover/internal/realparts"
)

// browser is a real Chromium without a window, with one tab.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string // errors on the console, requests to another host
}

// openBrowser opens the page at home, in light colours. Whatever the browser complains of, and each request to another host than home's, fails the test.
func openBrowser(t *testing.T, home string) *browser {
	t.Helper()
	b := &browser{t: t}
	options := append(chromedp.DefaultExecAllocatorOptions[:len(chromedp.DefaultExecAllocatorOptions):len(chromedp.DefaultExecAllocatorOptions)],
		chromedp.ExecPath(realparts.Chromium(t)), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.Flag("headless", true), chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-quic", true), chromedp.Flag("no-first-run", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithListener(b.listen(home)))
	ctx, cancelTimeout := context.WithTimeout(ctx, 4*time.Minute)
	b.ctx = ctx
	t.Cleanup(func() {
		cancelTimeout()
		cancel()
		cancelAllocator()
		for _, complaint := range b.complaints {
			t.Errorf("the browser complains: %s", complaint)
		}
	})
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	call(b, runtime.Enable, cdp.Empty{})
	b.dark(false)
	b.do(chromedp.Navigate(home + "/"))
	b.until(`document.querySelector("#live").className === "ok"`)
	return b
}

func (b *browser) listen(home string) func(any) {
	own, err := url.Parse(home)
	if err != nil {
		b.t.Fatal(err)
	}
	complain := func(text string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.complaints = append(b.complaints, text)
	}
	return func(event any) {
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if u, err := url.Parse(e.Request.URL); err != nil || u.Host != own.Host {
				complain("a request to " + e.Request.URL)
			}
		case *log.EventEntryAdded:
			complain("log: " + e.Entry.Text + " " + e.Entry.URL)
		case *runtime.EventConsoleAPICalled:
			complain("console: " + string(e.Type))
		case *runtime.EventExceptionThrown:
			complain("exception: " + e.ExceptionDetails.Text)
		}
	}
}

func call[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// eval is the value of an expression of the page's, as text.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	s, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return s
}

// until waits until an expression of the page's is true.
func (b *browser) until(expression string) {
	b.t.Helper()
	for range 1200 {
		if b.eval(expression) == "true" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.t.Fatalf("never true: %s\n%s", expression, b.eval("document.body.innerText"))
}

// click clicks on the first element of a CSS selector that can be seen.
func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

func (b *browser) size(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

func (b *browser) dark(dark bool) {
	b.t.Helper()
	scheme := map[bool]string{false: "light", true: "dark"}[dark]
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// picture keeps what is seen as a picture, if SCREENSHOTS names a folder.
func (b *browser) picture(name string) {
	b.t.Helper()
	folder := os.Getenv("SCREENSHOTS")
	if folder == "" {
		return
	}
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// play presses a story's button and waits for the story's end.
func (b *browser) play(name string) {
	b.t.Helper()
	button := `[data-story="` + name + `"]`
	b.click(button)
	b.until("document.querySelector('#story h3').textContent === document.querySelector('" + button + "').textContent && document.querySelector('#story [data-agrees]') !== null")
}

func TestPictures(t *testing.T) {
	realparts.Chromium(t)
	b := openBrowser(t, startTold(t))
	b.size(1280, 900)
	b.picture("start-1280")
	b.play("same-watch")
	b.picture("story-1280")
	b.dark(true)
	b.picture("story-1280-dark")
	b.click(`#webhooks .row`)
	b.until("document.querySelector('#detail').open")
	b.picture("detail-1280-dark")
	b.dark(false)
	b.picture("detail-1280")
	b.size(390, 844)
	b.picture("detail-390")
	b.click(`#detail [data-close]`)
	b.picture("story-390")
	b.eval(`scrollTo(0, document.querySelector('#story').offsetTop)`)
	b.picture("story-390-b")
	b.eval(`scrollTo(0, document.querySelector('.lanes').offsetTop)`)
	b.picture("lanes-390")
	b.size(1280, 900)
	b.eval(`document.querySelectorAll('#accounts details').forEach(d=>d.open=true), scrollTo(0, document.querySelector('.lanes').offsetTop)`)
	b.picture("lanes-1280")
	b.click(`#announcements .row`)
	b.until("document.querySelector('#detail').open")
	b.picture("announcement-1280")
}
