package main

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mocostream/internal/s3server"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// Words that must appear nowhere.
const (
	rightPassword = "right-horse-battery-staple"
	wrongPassword = "wrong-horse-battery-staple"
	wrongSecret   = "wrong-secret-of-a-bucket"
	wrongKey      = "AKIAWRONGKEY"
	wrongToken    = "wrong-session-token"
	httpToken     = "token-of-the-outside"
)

func secretWords() []string {
	return []string{rightPassword, wrongPassword, bucketSecret, bucketKey, wrongSecret, wrongKey, wrongToken, httpToken}
}

// silent fails if a text says a secret.
func silent(t *testing.T, where, text string) {
	t.Helper()
	for _, word := range secretWords() {
		if i := strings.Index(text, word); i >= 0 {
			t.Errorf("%s says %q: ...%s...", where, word, text[max(0, i-80):min(len(text), i+80)])
		}
	}
}

// silentFolder looks through every file of a folder.
func silentFolder(t *testing.T, dir string) {
	t.Helper()
	n := 0
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			silent(t, path, string(read(t, filepath.Join(dir, path))))
			n++
		}
		return err
	})
	if err != nil || n == 0 {
		t.Errorf("looked through %d files of %s, %v", n, dir, err)
	}
}

// adminPassword is that of who produces.
const adminPassword = "admin-horse-battery-staple"

// guardedBroker is a stand-in broker that asks for a login. One that is started later in the same folder, at the same port,
// goes on with its log and its users.
func guardedBroker(t *testing.T, dir string, port int) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ClusterID("guarded"), kfake.DataDir(dir), kfake.Ports(port), kfake.SeedTopics(4, "images"),
		kfake.EnableSASL(), kfake.Superuser("PLAIN", "admin", adminPassword),
		kfake.Superuser("PLAIN", "me", rightPassword), kfake.Superuser("SCRAM-SHA-256", "me", rightPassword))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// administer hands out a client of the broker's administrator, and half a minute for what it does.
func administer(t *testing.T, c *kfake.Cluster, do func(ctx context.Context, client *kgo.Client) error) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.SASL(plain.Auth{User: "admin", Pass: adminPassword}.AsMechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := do(ctx, client); err != nil {
		t.Fatal(err)
	}
}

// produceGuarded produces images from..to.
func produceGuarded(t *testing.T, c *kfake.Cluster, from, to int) {
	t.Helper()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{Topic: "images", Partition: int32(i % 4), Value: encoded(t, i)})
	}
	administer(t, c, func(ctx context.Context, client *kgo.Client) error {
		return client.ProduceSync(ctx, records...).FirstErr()
	})
}

// changePassword gives the user another one for SCRAM.
func changePassword(t *testing.T, c *kfake.Cluster, password string) {
	t.Helper()
	change := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
	change.Name, change.Mechanism, change.Iterations, change.Salt = "me", 1, 4096, []byte("a salt for the test")
	var err error
	if change.SaltedPassword, err = pbkdf2.Key(sha256.New, password, change.Salt, int(change.Iterations), sha256.Size); err != nil {
		t.Fatal(err)
	}
	request := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	request.Upsertions = append(request.Upsertions, change)
	administer(t, c, func(ctx context.Context, client *kgo.Client) error {
		response, err := request.RequestWith(ctx, client)
		if err == nil {
			err = kerr.ErrorForCode(response.Results[0].ErrorCode)
		}
		return err
	})
}

// guarded are the settings of a run that logs in with a password.
func guarded(t *testing.T, c *kfake.Cluster, dir, password string, set ...string) []string {
	return append(online(broker(t, 0), dir), append([]string{
		"ingest.kafka.brokers=[" + c.ListenAddrs()[0] + "]", "ingest.kafka.sasl=scram-sha-256", "ingest.kafka.username=me",
		"ingest.kafka.password=" + password, "daemon.token=" + httpToken,
	}, set...)...)
}

// getWith asks with the token, and shows that without it there is no answer.
func (d *daemon) getWith(token, path string) string {
	d.t.Helper()
	if code, _ := d.get(path); code != http.StatusUnauthorized {
		d.t.Errorf("%s without the token: %d", path, code)
	}
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, d.address()+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		d.t.Fatalf("%s with the token: %d, %v", path, response.StatusCode, err)
	}
	return string(body)
}

// A run with the wrong password fails and one with the right one works; neither tells anybody.
func TestSecretsOfKafka(t *testing.T) {
	c := guardedBroker(t, t.TempDir(), 0)
	produceGuarded(t, c, 0, 80)
	for _, sasl := range []string{"plain", "scram-sha-256"} {
		dir := filepath.Join(t.TempDir(), "run")
		d := startDaemon(t, dir, guarded(t, c, dir, wrongPassword, "ingest.kafka.sasl="+sasl))
		if err := d.wait(); err == nil {
			t.Error("a wrong password does")
		}
		if code := d.cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(d.said(), "ingest.kafka.password") {
			t.Errorf("ended with %d:\n%s", code, d.said())
		}
		silent(t, "the log", d.said())
		silentFolder(t, dir)
	}
	dir := filepath.Join(t.TempDir(), "run")
	d := startDaemon(t, dir, guarded(t, c, dir, rightPassword, "sink.publish.every=5", "ingest.kafka.group=tools"))
	d.await(`"checkpoint":"step-000000010"`)
	for _, path := range []string{"/status", "/metrics"} {
		silent(t, path, d.getWith(httpToken, path))
	}
	silent(t, "ctl status", d.ctl("status").want(t, exitOK).out)
	d.stop(syscall.SIGTERM)
	silent(t, "the log", d.said())
	silentFolder(t, dir)
	wholeLedger(t, dir, 80)
}

// The password in a file is read again at every new connection: a broker that comes back with another one is logged in to.
func TestPasswordIsReadAgain(t *testing.T) {
	data := t.TempDir()
	c := guardedBroker(t, data, 0)
	produceGuarded(t, c, 0, 40)
	dir, file := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "password")
	write(t, file, []byte(rightPassword+"\n"))
	d := startDaemon(t, dir, guarded(t, c, dir, "file:"+file))
	d.await(`"checkpoint":"step-000000005"`)
	_, text, _ := strings.Cut(c.ListenAddrs()[0], ":")
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	const next = "next-horse-battery-staple"
	changePassword(t, c, next)
	c.Close()
	write(t, file, []byte(next+"\n"))
	produceGuarded(t, guardedBroker(t, data, port), 40, 80)
	d.await(`"checkpoint":"step-000000010"`)
	d.stop(syscall.SIGTERM)
	silent(t, "the log", d.said())
	if strings.Contains(d.said(), next) {
		t.Errorf("the log says the next password:\n%s", d.said())
	}
	wholeLedger(t, dir, 80)
}

// Keys that a bucket refuses, and keys that it takes, as a source and as a sink: nobody hears of them.
func TestSecretsOfBuckets(t *testing.T) {
	server, url := bucketServer(t, s3server.Options{})
	uploadFolder(t, server, "photos", "in/", images(t, 32, 1))
	server.Put("runs", "somebody-elses", []byte("file"))
	photos := append(bucketAccess("ingest.s3", url), "ingest.s3.url=s3://photos/in/", "ingest.s3.pause_limit=1s", "train.steps=10")
	kept := append(bucketAccess("sink.s3", url), "sink.s3.url=s3://runs/one", "sink.publish.every=5")
	for name, set := range map[string][]string{
		"source": slices.Concat(photos, []string{
			"ingest.s3.access_key=" + wrongKey, "ingest.s3.secret_key=" + wrongSecret, "ingest.s3.session_token=" + wrongToken,
		}),
		"sink": slices.Concat(photos, kept, []string{"sink.s3.access_key=" + wrongKey, "sink.s3.secret_key=" + wrongSecret}),
	} {
		t.Run("wrong keys of the "+name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			o := program(t, tiny(dir, set...)...).want(t, exitFailed, "credentials")
			silent(t, "stderr", o.err+o.out)
			if _, err := os.Stat(dir); err == nil {
				silentFolder(t, dir)
			}
		})
	}
	dir := filepath.Join(t.TempDir(), "run")
	args := tiny(dir, slices.Concat(photos, kept)...)
	o := program(t, args...).want(t, exitOK)
	silent(t, "stderr", o.err+o.out)
	silentFolder(t, dir)
	for _, key := range server.Keys("runs") {
		data, _ := server.Get("runs", key)
		silent(t, key, string(data))
	}
	o = program(t, append([]string{"config", "print", "-c", os.DevNull}, args[4:]...)...).want(t, exitOK)
	silent(t, "config print", o.out+o.err)
	if !strings.Contains(o.out, "s3://photos/in/") {
		t.Errorf("config print:\n%s", o.out)
	}
}
