// Command fetch downloads the corpus of real web apps into bench/.corpus. It needs the npm client and access to its
// registry. Releases that are there already are not fetched again.
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
