package protocol_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"brink/protocol"
)

func TestReadAll_StopsAtTheLimit(t *testing.T) {
	if raw, err := protocol.ReadAll(strings.NewReader("12345"), 5); string(raw) != "12345" || err != nil {
		t.Errorf("ReadAll = %q, %v", raw, err)
	}
	long := strings.NewReader(strings.Repeat("x", 100))
	if raw, err := protocol.ReadAll(long, 5); raw != nil || !errors.Is(err, protocol.ErrTooLong) {
		t.Errorf("ReadAll = %q, %v", raw, err)
	}
	if long.Len() != 94 {
		t.Errorf("%d bytes were left, want 94", long.Len())
	}
	broken := io.MultiReader(strings.NewReader("12"), failing{})
	if raw, err := protocol.ReadAll(broken, 5); raw != nil || !errors.Is(err, errCut) {
		t.Errorf("ReadAll = %q, %v", raw, err)
	}
}

var errCut = errors.New("cut")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errCut }

func TestReadAnswer_IsTheBodyOrAProblem(t *testing.T) {
	answer := func(status int, body string) *http.Response {
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}
	}
	for _, status := range []int{http.StatusOK, http.StatusCreated} {
		if raw, err := protocol.ReadAnswer(answer(status, "body"), 4); string(raw) != "body" || err != nil {
			t.Errorf("ReadAnswer = %q, %v", raw, err)
		}
	}
	if _, err := protocol.ReadAnswer(answer(http.StatusOK, "body"), 3); !errors.Is(err, protocol.ErrTooLong) {
		t.Errorf("err = %v, want ErrTooLong", err)
	}
	// What may be long when a node says yes does not bound what it says otherwise.
	_, err := protocol.ReadAnswer(answer(http.StatusConflict, `{"code":"conflict","message":"m"}`), 3)
	if protocol.CodeOf(err) != protocol.CodeConflict {
		t.Errorf("err = %v, want a conflict", err)
	}
	_, err = protocol.ReadAnswer(answer(http.StatusBadGateway, strings.Repeat("<p>", protocol.MaxProblem)), 3)
	if protocol.CodeOf(err) != protocol.CodeUnexpected {
		t.Errorf("err = %v, want an unexpected answer", err)
	}
}

func TestNodeURL_IsHTTPWithAHost(t *testing.T) {
	for text, want := range map[string]string{
		"http://127.0.0.1:8080": "http://127.0.0.1:8080",
		"https://a.example/b//": "https://a.example/b",
		"http://[::1]:80/":      "http://[::1]:80",
		"a.example":             "",
		"ftp://a.example":       "",
		"http://":               "",
		"https:///path":         "",
		"http://a b":            "",
		"":                      "",
	} {
		got, err := protocol.NodeURL(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("NodeURL(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

// What a proxy or the login page of a network answers is told from what a node answers, with what to do about it.
func TestReadAnswer_TellsWhoAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		media  string
		body   string
		hint   string // a part of it
	}{
		"login page":        {200, "text/html; charset=utf-8", "<html>log in</html>", "login"},
		"body too large":    {413, "text/html", "<html>413 Request Entity Too Large</html>", "client_max_body_size"},
		"node is down":      {502, "text/html", "<html>502 Bad Gateway</html>", "is the node running"},
		"refused":           {403, "text/plain", "forbidden", "firewall"},
		"proxy needs login": {407, "", "", "firewall"},
		"another server":    {404, "text/html", "<html>not found</html>", "address"},
	} {
		resp := &http.Response{
			StatusCode: c.status, Header: http.Header{"Content-Type": {c.media}}, Body: io.NopCloser(strings.NewReader(c.body)),
		}
		_, err := protocol.ReadAnswer(resp, 1000)
		problem, ok := errors.AsType[*protocol.Problem](err)
		if !ok || problem.Code != protocol.CodeUnexpected || problem.Status != c.status || !strings.Contains(problem.Hint, c.hint) {
			t.Errorf("%s: %v, hint %q; want a Problem with a hint about %q", name, err, problem.Hint, c.hint)
		}
	}
	for _, media := range []string{"", "application/json", "application/json; charset=utf-8"} {
		resp := &http.Response{
			StatusCode: 200, Header: http.Header{"Content-Type": {media}}, Body: io.NopCloser(strings.NewReader("{}")),
		}
		if raw, err := protocol.ReadAnswer(resp, 1000); err != nil || string(raw) != "{}" {
			t.Errorf("media type %q: %q, %v", media, raw, err)
		}
	}
}
