package protocol_test

import (
	"encoding/json"
	"fmt"

	"brink/channel"
	"brink/protocol"
)

// A device of your own sends this to ask whether there is an update.
func ExampleCheckRequest() {
	body, err := json.Marshal(protocol.CheckRequest{
		Channel: "production",
		Device:  protocol.Device{Platform: channel.Android, Native: "2.1.0", Version: "1.0.0"},
	})
	fmt.Println("POST", protocol.CheckPath("com.acme.shop"))
	fmt.Println(string(body), err)
	// Output:
	// POST /v1/apps/com.acme.shop/check
	// {"channel":"production","device":{"platform":"android","native":"2.1.0","version":"1.0.0"}} <nil>
}

// An answer with an error status is a Problem, whose code is stable.
func ExampleReadProblem() {
	problem := protocol.ReadProblem(404, []byte(`{"code":"unknown_channel","message":"nothing was published to it yet"}`))
	fmt.Println(problem.Code == protocol.CodeUnknownChannel, problem.Final())
	fmt.Println(problem)
	// Output:
	// true true
	// nothing was published to it yet (unknown_channel, HTTP 404)
}
