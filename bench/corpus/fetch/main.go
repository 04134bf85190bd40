// Command fetch brings the corpus of real web apps to this machine, into bench/.corpus. It needs the npm client and a
// network that lets it reach its registry; what is already here is not fetched again.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"brink/bench/corpus"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := corpus.Fetch(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(1)
	}
}
