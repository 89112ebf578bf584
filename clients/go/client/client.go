// Package client starts, watches and steers workflows of a mesh.
package client

import (
	"context"
	"crypto/tls"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	forgemesh "forgemesh.dev/go"
	orchestratorv1 "forgemesh.dev/go/forgemesh/api/orchestrator/v1"
)

const (
	callDeadline = 10 * time.Second
	patience     = 30 * time.Second
	messageLimit = 4 << 20
)

// Client is a caller's connection to a mesh. It may be used by any number of goroutines at once.
type Client struct {
	connection   *grpc.ClientConn
	orchestrator orchestratorv1.OrchestratorServiceClient
	namespace    string
	patience     time.Duration
}

// Option changes how Connect connects.
type Option func(*options)

type options struct {
	address   string
	namespace string
	patience  time.Duration
	tls       *tls.Config
	dial      []grpc.DialOption
}

// Address is host:port of the orchestrator; without it, FindAddress says where that is.
func Address(address string) Option { return func(o *options) { o.address = address } }

// Namespace is where workflows and executions live; "default" without it.
func Namespace(namespace string) Option { return func(o *options) { o.namespace = namespace } }

// Patience is for how long a call that may be repeated waits for an orchestrator that is away; 30 seconds without it.
func Patience(patience time.Duration) Option { return func(o *options) { o.patience = patience } }

// TLS makes the connection secure.
func TLS(config *tls.Config) Option { return func(o *options) { o.tls = config } }

// Dial adds options of gRPC's own, such as interceptors or OpenTelemetry's stats handler.
func Dial(dial ...grpc.DialOption) Option {
	return func(o *options) { o.dial = append(o.dial, dial...) }
}

// Connect makes a client. Nothing is sent before the first call.
func Connect(given ...Option) (*Client, error) {
	o := options{patience: patience}
	for _, option := range given {
		option(&o)
	}
	if o.address == "" {
		o.address = FindAddress()
	}
	secret := insecure.NewCredentials()
	if o.tls != nil {
		secret = credentials.NewTLS(o.tls)
	}
	dial := append([]grpc.DialOption{
		grpc.WithTransportCredentials(secret),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageLimit), grpc.MaxCallSendMsgSize(messageLimit)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
	}, o.dial...)
	connection, err := grpc.NewClient(o.address, dial...)
	if err != nil {
		return nil, err
	}
	return &Client{
		connection:   connection,
		orchestrator: orchestratorv1.NewOrchestratorServiceClient(connection),
		namespace:    o.namespace,
		patience:     o.patience,
	}, nil
}

// Close ends the connection. Executions go on.
func (c *Client) Close() error { return c.connection.Close() }

// Connection is the connection itself, for services and calls that this package has no method for.
func (c *Client) Connection() *grpc.ClientConn { return c.connection }

// Register keeps the YAML or JSON text of a workflow. The same content again is the same definition.
func (c *Client) Register(ctx context.Context, source string) (*orchestratorv1.Definition, error) {
	request := &orchestratorv1.RegisterDefinitionRequest{Namespace: c.namespace, Source: source}
	answer, err := repeated(ctx, c.patience, func(ctx context.Context) (*orchestratorv1.RegisterDefinitionResponse, error) {
		return c.orchestrator.RegisterDefinition(ctx, request)
	})
	return answer.GetDefinition(), err
}

// Start begins an execution; once it returns that is durable. With a RequestID it may be repeated, and then waits itself
// for an orchestrator that is away.
//
// The execution joins the trace of the span in ctx.
func (c *Client) Start(ctx context.Context, workflow string, input any, given ...StartOption) (*Execution, error) {
	request, err := c.startRequest(workflow, input, given)
	if err != nil {
		return nil, err
	}
	waits := c.patience
	if request.GetRequestId() == "" {
		waits = 0
	}
	within := callDeadline + time.Duration(request.GetWaitMillis())*time.Millisecond
	answer, err := repeatedWithin(ctx, waits, within, func(ctx context.Context) (*orchestratorv1.StartExecutionResponse, error) {
		return c.orchestrator.StartExecution(withTraceparent(ctx), request)
	})
	if err != nil {
		return nil, err
	}
	return &Execution{client: c, seen: answer.GetExecution()}, nil
}

// Run starts an execution, waits for its end and reads its output into what output points to; nil drops it. An execution
// that ends badly is an *ExecutionFailed. What the caller's deadline or cancellation ends is the waiting alone.
func (c *Client) Run(ctx context.Context, workflow string, input, output any, given ...StartOption) error {
	execution, err := c.Start(ctx, workflow, input, append([]StartOption{wait(longestWait(ctx))}, given...)...)
	if err != nil {
		return err
	}
	return execution.Result(ctx, output)
}

// Execution is a handle of an execution that was started before: the one that has this id now or, as ID@RUN, that run.
func (c *Client) Execution(ctx context.Context, id string) (*Execution, error) {
	request := &orchestratorv1.GetExecutionRequest{Namespace: c.namespace, ExecutionId: id}
	answer, err := repeated(ctx, c.patience, func(ctx context.Context) (*orchestratorv1.GetExecutionResponse, error) {
		return c.orchestrator.GetExecution(ctx, request)
	})
	if err != nil {
		return nil, err
	}
	return &Execution{client: c, seen: answer.GetExecution()}, nil
}

// Mesh says where the services of the mesh listen (host:port), by name.
func (c *Client) Mesh(ctx context.Context) (map[string]string, error) {
	answer, err := repeated(ctx, c.patience, func(ctx context.Context) (*orchestratorv1.GetMeshResponse, error) {
		return c.orchestrator.GetMesh(ctx, &orchestratorv1.GetMeshRequest{})
	})
	if err != nil {
		return nil, err
	}
	services := make(map[string]string, len(answer.GetServices()))
	for _, service := range answer.GetServices() {
		services[service.GetName()] = service.GetAddress()
	}
	return services, nil
}

func (c *Client) startRequest(workflow string, input any, given []StartOption) (*orchestratorv1.StartExecutionRequest, error) {
	request := &orchestratorv1.StartExecutionRequest{Namespace: c.namespace, Workflow: workflow}
	if input != nil {
		payload, err := forgemesh.Encode(input)
		if err != nil {
			return nil, err
		}
		request.Input = payload.Message()
	}
	for _, option := range given {
		if err := option(request); err != nil {
			return nil, err
		}
	}
	return request, nil
}
