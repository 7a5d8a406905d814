// What programs of Go do with a host, by the name in the first argument.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

const root = "/data/"

func tell(what string, value any, err error) {
	if err == nil {
		fmt.Println(what, value)
		return
	}
	var errno syscall.Errno
	errors.As(err, &errno)
	fmt.Println(what, err, int(errno), errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist))
}

func describe(name string) {
	for _, stat := range []func(string) (fs.FileInfo, error){os.Stat, os.Lstat} {
		info, err := stat(root + name)
		if err != nil {
			tell(name, nil, err)
			continue
		}
		size := info.Size()
		if info.IsDir() {
			size = 0
		}
		tell(name, []any{info.Name(), size, info.Mode()}, nil)
	}
}

func files() {
	tell("mkdir", nil, os.Mkdir(root+"a", 0o755))
	tell("mkdir again", nil, os.Mkdir(root+"a", 0o755))
	tell("mkdir all", nil, os.MkdirAll(root+"a/b/c", 0o700))
	tell("write", nil, os.WriteFile(root+"f", []byte("hello"), 0o600))
	tell("below a file", nil, os.MkdirAll(root+"f/x", 0o755))
	tell("write a folder", nil, os.WriteFile(root+"a", nil, 0o644))
	for _, name := range []string{"f", "a", "f/", "no", "."} {
		describe(name)
	}
	_, err := os.OpenFile(root+"f", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	tell("exclusive", nil, err)
	file, err := os.OpenFile(root+"g", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	tell("create", nil, err)
	count, err := file.Write([]byte("0123456789"))
	tell("write", count, err)
	position, err := file.Seek(-3, io.SeekEnd)
	tell("seek", position, err)
	buffer := make([]byte, 10)
	count, err = file.Read(buffer)
	tell("read", string(buffer[:count]), err)
	_, err = file.Read(buffer)
	tell("end", nil, err)
	count, err = file.WriteAt([]byte("XY"), 20)
	tell("write at", count, err)
	tell("truncate", nil, file.Truncate(15))
	_, err = file.Seek(-100, io.SeekStart)
	tell("seek", nil, err)
	tell("sync", nil, file.Sync())
	tell("close", nil, file.Close())
	appended, err := os.OpenFile(root+"g", os.O_APPEND|os.O_WRONLY, 0)
	tell("append", nil, err)
	_, err = appended.WriteString("END")
	tell("append", nil, err)
	_, err = appended.Read(buffer)
	tell("read what is for writing", nil, err)
	appended.Close()
	content, err := os.ReadFile(root + "g")
	tell("content", fmt.Sprintf("%q", content), err)
	tell("rename", nil, os.Rename(root+"g", root+"h"))
	tell("rename again", nil, os.Rename(root+"g", root+"h"))
	tell("rename onto a folder", nil, os.Rename(root+"h", root+"a"))
	tell("rename into itself", nil, os.Rename(root+"a", root+"a/b/x"))
	tell("link", nil, os.Link(root+"h", root+"i"))
	tell("symlink", nil, os.Symlink("h", root+"l"))
	tell("symlink", nil, os.Symlink("nowhere", root+"d"))
	tell("symlink", nil, os.Symlink("loop", root+"loop"))
	tell("absolute symlink", nil, os.Symlink("/etc/passwd", root+"e"))
	for _, name := range []string{"l", "d", "loop", "i"} {
		target, err := os.Readlink(root + name)
		tell("readlink", target, err)
		describe(name)
	}
	tell("times", nil, os.Chtimes(root+"f", time.Unix(1e9, 123e6), time.Unix(1234567890, 999e6)))
	info, err := os.Stat(root + "f")
	tell("time", info.ModTime().UnixMilli(), err)
	entries, err := os.ReadDir(root)
	tell("list", entries, err)
	tell("remove a full folder", nil, os.Remove(root+"a"))
	tell("remove all", nil, os.RemoveAll(root+"a"))
	tell("remove", nil, os.Remove(root+"l"))
	tell("remove again", nil, os.Remove(root+"l"))
	for i := range 200 {
		os.WriteFile(fmt.Sprintf("%smany%03d", root, i), nil, 0o644)
	}
	walked := 0
	err = filepath.WalkDir("/data", func(string, fs.DirEntry, error) error { walked++; return nil })
	tell("walk", walked, err)
	tell("deep", nil, os.MkdirAll(root+strings.Repeat("deep/", 30), 0o755))
	_, err = os.Stat("/outside")
	tell("outside", nil, err)
}

func main() {
	switch os.Args[1] {
	case "files":
		files()
	case "descriptors":
		var open []*os.File
		for i := range 300 {
			file, err := os.Create(fmt.Sprintf("%sf%d", root, i))
			if err != nil {
				tell("create", i, err)
				break
			}
			open = append(open, file)
		}
		fmt.Println(len(open))
	case "environment":
		fmt.Printf("%q\n%q\n", os.Args, os.Environ())
	case "lines":
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			fmt.Printf("[%s]\n", lines.Text())
		}
	case "select":
		ctx := context.Background()
		values := make(chan int)
		go func() {
			for i := range 3 {
				time.Sleep(5 * time.Millisecond)
				values <- i
			}
		}()
		for {
			select {
			case value := <-values:
				fmt.Println(value)
				if value == 2 { // From here on: a busy machine may take long for the values.
					late, cancel := context.WithTimeout(ctx, 60*time.Millisecond)
					defer cancel()
					ctx = late
				}
				continue
			case <-ctx.Done():
				fmt.Println(ctx.Err())
			}
			break
		}
		<-time.After(5 * time.Millisecond)
	case "goroutines":
		values := make(chan int, 10)
		var waiting sync.WaitGroup
		var lock sync.Mutex
		sum := 0
		for range 50 {
			waiting.Go(func() {
				for value := range values {
					lock.Lock()
					sum += value
					lock.Unlock()
				}
			})
		}
		for i := range 10_000 {
			values <- i
		}
		close(values)
		waiting.Wait()
		fmt.Println(sum)
	case "memory":
		var kept [][]byte
		for i := range 5_000 {
			block := make([]byte, 10_000)
			block[i] = 1
			if i%100 == 0 {
				kept = append(kept, block)
			}
		}
		runtime.GC()
		for i, block := range kept {
			if block[i*100] != 1 || block[i*100+1] != 0 {
				fmt.Println("another's bytes in", i)
			}
		}
		fmt.Println(len(kept))
	case "json":
		text, err := json.Marshal(map[string]any{"b": []float64{0.1, 1e21}, "a": "ü<"})
		tell("json", string(text), err)
		var number struct{ A int }
		tell("json", nil, json.Unmarshal([]byte(`{"a":"x"}`), &number))
		names := []string{"c", "a", "b"}
		sort.Strings(names)
		fmt.Println(names)
	case "recover":
		defer fmt.Println("deferred")
		func() {
			defer func() { fmt.Println(recover()) }()
			var list []int
			fmt.Println(list[len(os.Args)])
		}()
	case "exit":
		var status int
		fmt.Sscan(os.Args[2], &status)
		fmt.Print("no newline")
		os.Exit(status)
	case "panic":
		panic("asked to panic")
	case "nil":
		var pointer *int
		fmt.Println(*pointer)
	case "deadlock":
		<-make(chan int)
	}
}
