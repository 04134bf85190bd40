package digest_test

import (
	"fmt"

	"brink/digest"
)

func ExampleSum() {
	d := digest.Sum([]byte("hello"))
	fmt.Println(d)
	again, err := digest.Parse(d.String())
	fmt.Println(again == d, err)
	// Output:
	// ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f
	// true <nil>
}
