{
  description = "run-kernel, the edit-build-boot loop for people who work on the Linux kernel";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      each = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (pkgs: {
        default = pkgs.buildGoModule {
          pname = "run-kernel";
          version = self.shortRev or "dirty";
          src = self;
          # What `go mod vendor -o DIR && nix hash path DIR` prints. A test compares it.
          vendorHash = "sha256-ekG1qJXU1Wm7fP7Ctsj87UNnFJoQQ/ti1Gh/a55y2bI=";
          subPackages = [ "cmd/run-kernel" ];
          env.CGO_ENABLED = 0; # it is also the guest's init, where there are no libraries
          ldflags = [
            "-s"
            "-w"
          ];
          nativeBuildInputs = [ pkgs.makeWrapper ];
          doCheck = false; # the tests start VMs
          # qemu and virtiofsd come behind what the user has.
          postInstall = ''
            go run -tags man ./cmd/run-kernel $out/share/man
            wrapProgram $out/bin/run-kernel --suffix PATH : ${
              pkgs.lib.makeBinPath [
                pkgs.qemu
                pkgs.virtiofsd
              ]
            }
          '';
          meta = {
            description = "Edit-build-boot loop for Linux kernel development";
            homepage = "https://github.com/metaspace/run-kernel";
            license = pkgs.lib.licenses.gpl3Only;
            mainProgram = "run-kernel";
            platforms = systems;
          };
        };
      });

      # What developing run-kernel, and building kernels with it, takes.
      devShells = each (pkgs: {
        default = pkgs.mkShell {
          packages = with pkgs; [
            bc
            bison
            elfutils
            flex
            gcc
            gnumake
            go
            openssl
            perl
            qemu
            virtiofsd
          ];
        };
      });
    };
}
