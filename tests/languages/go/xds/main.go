// A client with nothing but grpc-go in it; tests/stock_client.py says what it reads and writes.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds"
)

type request struct {
	Calls      int               `json:"calls"`
	Concurrent int               `json:"concurrent"`
	Seconds    float64           `json:"seconds"`
	Wait       bool              `json:"wait"`
	Headers    map[string]string `json:"headers"`
}

// raw passes bytes on as they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "raw" }

var names = map[codes.Code]string{
	codes.Unavailable: "UNAVAILABLE", codes.Internal: "INTERNAL", codes.DeadlineExceeded: "DEADLINE_EXCEEDED",
	codes.ResourceExhausted: "RESOURCE_EXHAUSTED",
}

func answer(connection *grpc.ClientConn, asked request, number int) string {
	call, cancel := context.WithTimeout(context.Background(), time.Duration(asked.Seconds*float64(time.Second)))
	defer cancel()
	for name, value := range asked.Headers {
		call = metadata.AppendToOutgoingContext(call, name, strings.ReplaceAll(value, "%i", fmt.Sprint(number)))
	}
	var sent, received []byte
	err := connection.Invoke(call, "/test.Who/Who", &sent, &received, grpc.ForceCodec(raw{}), grpc.WaitForReady(asked.Wait))
	if err == nil {
		return string(received)
	}
	if name, known := names[status.Code(err)]; known {
		return name
	}
	return err.Error()
}

func answers(connection *grpc.ClientConn, asked request) map[string]int {
	found := map[string]int{}
	var all sync.WaitGroup
	var adding sync.Mutex
	room := make(chan struct{}, asked.Concurrent)
	for number := range asked.Calls {
		room <- struct{}{}
		all.Go(func() {
			one := answer(connection, asked, number)
			adding.Lock()
			found[one]++
			adding.Unlock()
			<-room
		})
	}
	all.Wait()
	return found
}

func main() {
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked request
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		told, err := json.Marshal(answers(connection, asked))
		if err != nil {
			panic(err)
		}
		fmt.Println(string(told))
	}
}
